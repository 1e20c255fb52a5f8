SELECT
    id, job, task, host, owner, fault, cause, detail, at
FROM void_run
WHERE job IN (SELECT id FROM job WHERE state IN ('running', 'stopping'))
ORDER BY id
