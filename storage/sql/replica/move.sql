WITH moved (state, job_id, task, segment, host_id) AS (VALUES {rows}),
numbered AS (
    SELECT
        state, (SELECT number FROM job WHERE id = job_id) AS job, task, segment,
        (SELECT number FROM host WHERE id = host_id) AS host
    FROM moved
)
UPDATE replica SET state = numbered.state, near = NULL
FROM numbered
WHERE
    replica.job = numbered.job AND replica.task = numbered.task AND replica.segment = numbered.segment
    AND replica.host = numbered.host
