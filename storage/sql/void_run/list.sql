SELECT
    id, job, task, host, owner, fault, cause, detail, at
FROM void_run
WHERE job = $1 AND task = $2 AND id > $3
ORDER BY id
LIMIT $4
