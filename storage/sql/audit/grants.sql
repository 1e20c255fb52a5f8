-- Granted above the published limits: accounts (the limit is $2), then issuers ($3). Others than $1 may grant nothing.
WITH granted AS (
    SELECT t.issuer, t.credit, CAST(SUM(t.amount) AS BIGINT) AS amount
    FROM transfer AS t
    JOIN ledger_account AS a ON a.id = t.credit
    WHERE t.kind = 'grant' AND a.kind = 'granted'
    GROUP BY t.issuer, t.credit
),
sums AS (
    SELECT credit AS subject, amount, CASE WHEN issuer = $1 THEN $2 ELSE 0 END AS most FROM granted
    UNION ALL
    SELECT issuer, CAST(SUM(amount) AS BIGINT), CASE WHEN issuer = $1 THEN $3 ELSE 0 END
    FROM granted
    GROUP BY issuer
)
SELECT subject, amount, CAST(most AS BIGINT)
FROM sums
WHERE amount > most
ORDER BY subject
LIMIT 100
