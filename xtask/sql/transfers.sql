-- Every movement of credit.
SELECT issuer, kind, debit, credit, amount, job, host FROM transfer
