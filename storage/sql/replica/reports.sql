-- Reports of the results of a job that go next.
SELECT report
FROM (SELECT report FROM replica WHERE job = $1 ORDER BY task, segment, host LIMIT $2) AS first
GROUP BY report
