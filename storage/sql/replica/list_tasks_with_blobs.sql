-- Tasks of a job, after one of them, of which an output or a log is a blob.
SELECT DISTINCT task
FROM replica
WHERE job = $1 AND task > $2 AND (output IS NULL OR log IS NULL)
ORDER BY task
LIMIT $3
