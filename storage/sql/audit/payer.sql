-- Jobs with transfers that go against their payer, and what those moved: a hold or release that is not the payer's, pay that
-- turned into the wrong kind of credit, another issuer's credit, or a job that is not there.
SELECT t.job, CAST(SUM(t.amount) AS BIGINT), CAST(0 AS BIGINT)
FROM transfer AS t
LEFT JOIN job AS j ON j.id = t.job
JOIN ledger_account AS d ON d.id = t.debit
JOIN ledger_account AS c ON c.id = t.credit
WHERE t.job IS NOT NULL AND (
    j.id IS NULL
    OR d.issuer <> t.issuer
    OR c.issuer <> t.issuer
    OR (d.kind IN ('granted', 'available') AND d.owner <> j.payer)
    OR (c.kind = 'granted' AND c.owner <> j.payer)
    OR (c.kind = 'available' AND t.kind = 'post' AND c.owner = j.payer)
    OR (c.kind = 'available' AND t.kind <> 'post' AND c.owner <> j.payer)
)
GROUP BY t.job
ORDER BY t.job
LIMIT 100
