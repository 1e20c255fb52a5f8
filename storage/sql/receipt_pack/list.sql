-- Packs of a report that hold positions after one.
SELECT k.report, k.position, k.packing, k.bytes, (SELECT j.id FROM job AS j WHERE j.number = k.job) AS job
FROM receipt_pack AS k
WHERE k.report = $1 AND k.last > $2
ORDER BY k.position
