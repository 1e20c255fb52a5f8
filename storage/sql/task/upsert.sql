WITH decided (
    job_id, task, segment, sequence, state, host_id, cause, outcome, code, fuel, output, output_bytes, at
) AS (VALUES {rows})
INSERT INTO task (
    job, task, segment, sequence, state, host, cause, outcome, code, fuel, output, output_bytes, at
)
SELECT
    (SELECT number FROM job WHERE id = job_id), task, segment, sequence, state, (SELECT number FROM host WHERE id = host_id),
    cause, outcome, code, fuel, output, output_bytes, at
FROM decided
WHERE TRUE
ON CONFLICT (job, task) DO UPDATE SET
    segment = excluded.segment, sequence = excluded.sequence, state = excluded.state, host = excluded.host, cause = excluded.cause,
    outcome = excluded.outcome, code = excluded.code, fuel = excluded.fuel, output = excluded.output,
    output_bytes = excluded.output_bytes, at = excluded.at
