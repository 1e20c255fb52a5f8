SELECT
    (SELECT j.id FROM job AS j WHERE j.number = t.job) AS job, t.task, t.segment, t.sequence, t.state,
    (SELECT h.id FROM host AS h WHERE h.number = t.host) AS host, t.cause, t.outcome, t.code, t.fuel, t.output, t.output_bytes,
    t.at
FROM task AS t
WHERE t.job = (SELECT number FROM job WHERE id = $1) AND t.task = $2
