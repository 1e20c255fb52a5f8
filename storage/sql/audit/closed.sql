-- Credit left in a job that is over: nothing runs and nothing is held back.
SELECT a.id, CAST(SUM(b.amount) AS BIGINT), CAST(0 AS BIGINT)
FROM job AS j
JOIN ledger_account AS a ON a.job = j.id
JOIN balance AS b ON b.account = a.id
WHERE j.state NOT IN ('running', 'stopping') AND j.provisional_tasks = 0
GROUP BY a.id
HAVING SUM(b.amount) <> 0
ORDER BY a.id
LIMIT 100
