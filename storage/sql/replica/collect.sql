DELETE FROM replica
WHERE
    (job, task, segment, host) IN (
        SELECT job, task, segment, host
        FROM replica
        WHERE job = $1
        ORDER BY task, segment, host
        LIMIT $2
    )
