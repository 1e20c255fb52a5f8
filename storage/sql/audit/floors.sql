SELECT a.id, CAST(SUM(b.amount) AS BIGINT), CAST(0 AS BIGINT)
FROM balance AS b
JOIN ledger_account AS a ON a.id = b.account
WHERE a.kind NOT IN ('grants', 'clearing')
GROUP BY a.id
HAVING SUM(b.amount) < 0
ORDER BY a.id
LIMIT 100
