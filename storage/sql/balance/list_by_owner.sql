SELECT
    a.id, a.issuer, a.kind, a.owner, a.job, a.host, CAST(SUM(b.amount) AS BIGINT) AS amount, MAX(b.sequence) AS sequence
FROM balance AS b
JOIN ledger_account AS a ON a.id = b.account
WHERE a.owner = $1 AND (CAST($2 AS TEXT) IS NULL OR a.kind = $2) AND a.id > $3
GROUP BY a.id, a.issuer, a.kind, a.owner, a.job, a.host
ORDER BY a.id
LIMIT $4
