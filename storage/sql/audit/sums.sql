SELECT a.issuer, CAST(SUM(b.amount) AS BIGINT)
FROM balance AS b
JOIN ledger_account AS a ON a.id = b.account
GROUP BY a.issuer
ORDER BY a.issuer
