-- Reports that the log does not hold.
SELECT COUNT(*)
FROM report AS p
WHERE NOT EXISTS (SELECT 1 FROM log_entry AS e WHERE e.id = p.log_index AND e.kind = 'report' AND e.digest = p.root)
