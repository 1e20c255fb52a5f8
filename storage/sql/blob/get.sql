SELECT
    digest, length, account, at
FROM blob
WHERE digest = $1
