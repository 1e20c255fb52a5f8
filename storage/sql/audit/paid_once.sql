-- Slots earn once, are posted or voided once, and are surcharged once.
SELECT evidence, COUNT(*), CAST(1 AS BIGINT)
FROM transfer
WHERE kind IN ('earn', 'post', 'void', 'surcharge')
GROUP BY CASE kind WHEN 'void' THEN 'post' ELSE kind END, job, host, evidence
HAVING COUNT(*) > 1
ORDER BY evidence
LIMIT 100
