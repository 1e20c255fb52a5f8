-- Blobs after one of them: 1 for those that were uploaded before a time and that no job needs.
SELECT
    digest,
    CASE
        WHEN touched <= $2
            THEN 1 - (
                SELECT COUNT(*)
                FROM (SELECT 1 FROM blob_use AS u WHERE u.digest = blob.digest ORDER BY u.job LIMIT 1) AS used
            )
        ELSE 0
    END
FROM blob
WHERE digest > $1
ORDER BY digest
LIMIT $3
