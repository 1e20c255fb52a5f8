WITH reported (
    job_id, task, segment, host_id, state, report_id, position, lease_id, output, log, amount, final_after, near, relaxed
) AS (VALUES {rows})
INSERT INTO replica (
    job, task, segment, host, state, report, position, lease, output, log, amount, final_after, near, relaxed
)
SELECT
    (SELECT number FROM job WHERE id = job_id), task, segment, (SELECT number FROM host WHERE id = host_id), state,
    (SELECT log_index FROM report WHERE root = report_id), position,
    (SELECT number FROM lease_token WHERE digest = lease_id), output, log, amount, final_after, near, relaxed
FROM reported
