WITH moved (state, job, task, segment, host) AS (VALUES {rows})
UPDATE replica SET state = moved.state, near = NULL
FROM moved
WHERE
    replica.job = moved.job AND replica.task = moved.task AND replica.segment = moved.segment
    AND replica.host = moved.host
