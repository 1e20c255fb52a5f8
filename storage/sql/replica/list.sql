-- Of the newest segments first.
SELECT
    job, task, segment, host, owner, attempt, state, report, position, receipt, lease, output, log, amount,
    final_after, at, near, relaxed
FROM replica
WHERE job = $1 AND task = $2
ORDER BY segment DESC, host
LIMIT $3
