-- Hosts that live jobs paid before.
SELECT DISTINCT job, host
FROM transfer
WHERE kind = 'earn' AND job IN (SELECT id FROM job WHERE state IN ('running', 'stopping'))
ORDER BY job, host
