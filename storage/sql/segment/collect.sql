DELETE FROM segment
WHERE
    (job, task, segment) IN (
        SELECT job, task, segment
        FROM segment
        WHERE job = $1
        ORDER BY task, segment
        LIMIT $2
    )
