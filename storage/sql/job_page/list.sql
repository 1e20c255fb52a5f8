SELECT
    job, page, states
FROM job_page
WHERE job = $1 AND page > $2
ORDER BY page
LIMIT $3
