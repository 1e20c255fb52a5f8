-- Hosts that live jobs paid before: the first pay of a host opens its pending account with the job.
SELECT DISTINCT job, host
FROM ledger_account
WHERE kind = 'pending' AND job IN (SELECT id FROM job WHERE state IN ('running', 'stopping'))
ORDER BY job, host
