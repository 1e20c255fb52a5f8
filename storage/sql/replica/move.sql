WITH moved (state, job, task, host) AS (VALUES {rows})
UPDATE replica SET state = moved.state
FROM moved
WHERE replica.job = moved.job AND replica.task = moved.task AND replica.host = moved.host
