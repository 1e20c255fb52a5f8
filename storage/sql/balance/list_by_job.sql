SELECT
    a.id, a.issuer, a.kind, a.owner, a.job, a.host, CAST(SUM(b.amount) AS BIGINT) AS amount, MAX(b.sequence) AS sequence
FROM balance AS b
JOIN ledger_account AS a ON a.id = b.account
WHERE a.job = $1 AND a.id > $2
GROUP BY a.id, a.issuer, a.kind, a.owner, a.job, a.host
ORDER BY a.id
LIMIT $3
