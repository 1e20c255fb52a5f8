SELECT
    attempt, digest, job, host, owner, first_task AS first, tasks AS count, epoch, issued, expiry,
    given_back, near, relaxed
FROM lease
ORDER BY attempt
