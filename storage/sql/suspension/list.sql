SELECT
    kind, subject, reason, at
FROM suspension
WHERE kind > $1 OR (kind = $1 AND subject > $2)
ORDER BY kind, subject
LIMIT $3
