DELETE FROM job_hold WHERE job = $1
