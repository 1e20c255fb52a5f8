-- With the output of the replica whose result stands, where it is small enough to be stored there.
SELECT
    t.job, t.task, t.segment, t.sequence, t.state, t.host, t.cause, t.outcome, t.code, t.fuel, t.output, t.output_bytes,
    t.at, r.output AS inline
FROM task AS t
LEFT JOIN replica AS r ON r.job = t.job AND r.task = t.task AND r.segment = t.segment AND r.host = t.host
WHERE t.job = $1 AND t.sequence > $2
ORDER BY t.sequence
LIMIT $3
