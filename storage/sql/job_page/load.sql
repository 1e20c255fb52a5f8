SELECT
    job, page, states
FROM job_page
WHERE job IN (SELECT id FROM job WHERE state IN ('running', 'stopping'))
ORDER BY job, page
