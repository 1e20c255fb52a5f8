SELECT
    id, current_key, recovery, rotations, status, granted, joined
FROM account
ORDER BY id
