SELECT root, log_index
FROM report
WHERE log_index > $1 AND NOT collected
ORDER BY log_index
LIMIT $2
