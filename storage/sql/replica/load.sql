SELECT
    job, task, segment, host, owner, attempt, state, report, position, receipt, lease, output, log, amount,
    final_after, at, near, relaxed
FROM replica
WHERE state = 'reported' AND job IN (SELECT id FROM job WHERE state IN ('running', 'stopping'))
ORDER BY job, task, segment, host
