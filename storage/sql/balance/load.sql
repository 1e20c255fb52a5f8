-- All but those of jobs that are over and stand at zero.
SELECT
    a.id, a.issuer, a.kind, a.owner, a.job, a.host, CAST(SUM(b.amount) AS BIGINT) AS amount, MAX(b.sequence) AS sequence
FROM balance AS b
JOIN ledger_account AS a ON a.id = b.account
WHERE b.amount <> 0 OR a.job IS NULL OR a.job IN (SELECT id FROM job WHERE state IN ('running', 'stopping'))
GROUP BY a.id, a.issuer, a.kind, a.owner, a.job, a.host
ORDER BY a.id
