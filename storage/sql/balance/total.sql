SELECT a.issuer, a.kind, CAST(SUM(b.amount) AS BIGINT) AS amount
FROM balance AS b
JOIN ledger_account AS a ON a.id = b.account
WHERE a.owner = $1
GROUP BY a.issuer, a.kind
ORDER BY a.issuer, a.kind
