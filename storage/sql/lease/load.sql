SELECT
    attempt, digest, job, host, owner, first_task AS first, tasks AS count, epoch, issued, expiry
FROM lease
ORDER BY attempt
