INSERT INTO job_page (
    job, page, states
)
VALUES {rows}
ON CONFLICT (job, page) DO UPDATE SET
    states = excluded.states
