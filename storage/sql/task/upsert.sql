INSERT INTO task (
    job, task, segment, sequence, state, host, cause, outcome, code, fuel, output, output_bytes, at
)
VALUES {rows}
ON CONFLICT (job, task) DO UPDATE SET
    segment = excluded.segment, sequence = excluded.sequence, state = excluded.state, host = excluded.host, cause = excluded.cause,
    outcome = excluded.outcome, code = excluded.code, fuel = excluded.fuel, output = excluded.output,
    output_bytes = excluded.output_bytes, at = excluded.at
