DELETE FROM task
WHERE (job, task) IN (SELECT job, task FROM task WHERE job = $1 ORDER BY task LIMIT $2)
