SELECT job, task, segment, root, fuel, snapshot, length, host, at
FROM segment
WHERE job = $1 AND task = $2 AND segment > $3
ORDER BY segment
LIMIT $4
