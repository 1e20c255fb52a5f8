SELECT position, job, task, receipt
FROM replica
WHERE report = $1 AND position > $2
ORDER BY position
LIMIT $3
