-- Packs of the reports of which a result of a live job waits for others.
SELECT k.report, k.position, k.packing, k.bytes, j.id AS job
FROM receipt_pack AS k
JOIN job AS j ON j.number = k.job
WHERE
    j.state IN ('running', 'stopping')
    AND k.report IN (SELECT r.report FROM replica AS r WHERE r.state = 'reported')
