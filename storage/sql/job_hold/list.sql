SELECT job, kind, account, reason, at
FROM job_hold
WHERE job = $1
ORDER BY kind
