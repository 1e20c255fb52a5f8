-- Results that are paid: those that stand, and runs stopped on the way; each names the place of its receipt. Those that are
-- being collected lose it.
SELECT r.report, r.position, r.state, j.id AS job, h.id AS host
FROM replica AS r
JOIN job AS j ON j.number = r.job
JOIN host AS h ON h.number = r.host
WHERE r.state IN ('provisional', 'final', 'stopped') AND j.collecting IS NULL
