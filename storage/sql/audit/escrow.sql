-- Escrows of live jobs that hold less than the results which wait for others may cost: found, then reserved.
WITH reserved AS (
    SELECT j.id AS job, CAST(SUM(r.amount) AS BIGINT) AS amount
    FROM replica AS r
    JOIN job AS j ON j.number = r.job
    WHERE r.state = 'reported' AND j.state IN ('running', 'stopping')
    GROUP BY j.id
),
held AS (
    SELECT a.job, a.id, CAST(SUM(b.amount) AS BIGINT) AS amount
    FROM ledger_account AS a
    JOIN balance AS b ON b.account = a.id
    WHERE a.kind = 'escrow'
    GROUP BY a.job, a.id
)
SELECT COALESCE(h.id, r.job), COALESCE(h.amount, 0), r.amount
FROM reserved AS r
LEFT JOIN held AS h ON h.job = r.job
WHERE COALESCE(h.amount, 0) < r.amount
ORDER BY 1
LIMIT 100
