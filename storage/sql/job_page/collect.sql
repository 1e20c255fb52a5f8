DELETE FROM job_page
WHERE (job, page) IN (SELECT job, page FROM job_page WHERE job = $1 ORDER BY page LIMIT $2)
