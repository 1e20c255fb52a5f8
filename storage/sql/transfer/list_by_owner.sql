SELECT
    t.id, t.issuer, t.kind,
    d.kind AS debit_kind, d.owner AS debit_owner, d.job AS debit_job, d.host AS debit_host,
    c.kind AS credit_kind, c.owner AS credit_owner, c.job AS credit_job, c.host AS credit_host,
    t.amount, t.job, t.host, t.evidence, t.at
FROM transfer AS t
JOIN ledger_account AS d ON d.id = t.debit
JOIN ledger_account AS c ON c.id = t.credit
WHERE t.id IN (
    SELECT t.id FROM ledger_account AS a JOIN transfer AS t ON t.debit = a.id WHERE a.owner = $1 AND t.id > $2
    UNION
    SELECT t.id FROM ledger_account AS a JOIN transfer AS t ON t.credit = a.id WHERE a.owner = $1 AND t.id > $2
)
ORDER BY t.id
LIMIT $3
