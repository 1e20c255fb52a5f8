-- Of the newest segments first.
SELECT
    j.id AS job, r.task, r.segment, h.id AS host, l.owner, l.attempt, r.state, p.root AS report, r.report AS number,
    r.position, l.digest AS lease, r.output, r.log, r.amount, r.final_after, p.at, r.near, r.relaxed
FROM replica AS r
JOIN job AS j ON j.number = r.job
LEFT JOIN host AS h ON h.number = r.host
LEFT JOIN report AS p ON p.log_index = r.report
LEFT JOIN lease_token AS l ON l.number = r.lease
WHERE r.job = (SELECT number FROM job WHERE id = $1) AND r.task = $2
ORDER BY r.segment DESC, h.id
LIMIT $3
