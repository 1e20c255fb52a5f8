-- With the output of the replica whose result stands, where it is small enough to be stored there. Asked for row by row: a
-- join may be planned for an empty table, as one of every task with every replica.
SELECT
    (SELECT j.id FROM job AS j WHERE j.number = t.job) AS job, t.task, t.segment, t.sequence, t.state,
    (SELECT h.id FROM host AS h WHERE h.number = t.host) AS host, t.cause, t.outcome, t.code, t.fuel, t.output, t.output_bytes,
    t.at,
    (
        SELECT r.output
        FROM replica AS r
        WHERE r.job = t.job AND r.task = t.task AND r.segment = t.segment AND r.host = t.host
    ) AS inline
FROM task AS t
WHERE t.job = (SELECT number FROM job WHERE id = $1) AND t.sequence > $2
ORDER BY t.sequence
LIMIT $3
