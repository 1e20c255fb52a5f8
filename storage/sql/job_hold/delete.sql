DELETE FROM job_hold WHERE job = $1 AND kind = $2
