SELECT
    id, current_key, recovery, rotations, status, granted, joined
FROM account
WHERE id = $1
