SELECT
    id, account, kind, envelope, at
FROM key_entry
WHERE account = $1 AND id > $2
ORDER BY id
LIMIT $3
