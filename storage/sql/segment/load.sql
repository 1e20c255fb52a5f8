-- Where long tasks of live jobs stand that are not decided.
WITH last AS (
    SELECT job, task, MAX(segment) AS segment
    FROM segment
    WHERE job IN (SELECT id FROM job WHERE state IN ('running', 'stopping'))
    GROUP BY job, task
)
SELECT s.job, s.task, s.segment, s.root, s.fuel, s.snapshot, s.length, s.host, s.at
FROM last
JOIN segment AS s ON s.job = last.job AND s.task = last.task AND s.segment = last.segment
JOIN job AS j ON j.id = s.job
WHERE NOT EXISTS (SELECT 1 FROM task AS t WHERE t.job = j.number AND t.task = s.task)
ORDER BY s.job, s.task
