SELECT
    job, task, segment, sequence, state, host, cause, outcome, code, fuel, output, output_bytes, at
FROM task
WHERE job = $1 AND task = $2
