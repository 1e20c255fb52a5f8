SELECT
    job, task, segment, sequence, state, host, cause, outcome, code, fuel, output, output_bytes, at
FROM task
WHERE job = $1 AND (CAST($2 AS TEXT) IS NULL OR state = $2) AND task > $3
ORDER BY task
LIMIT $4
