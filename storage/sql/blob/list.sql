SELECT
    digest, length, account, at
FROM blob
WHERE account = $1 AND digest > $2
ORDER BY digest
LIMIT $3
