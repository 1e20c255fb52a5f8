SELECT
    id, current_key, recovery, rotations, status, granted, joined
FROM account
WHERE current_key = $1
