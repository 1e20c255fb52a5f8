-- Entries of the log whose report is not there.
SELECT COUNT(*)
FROM log_entry AS e
WHERE e.kind = 'report' AND NOT EXISTS (SELECT 1 FROM report AS p WHERE p.log_index = e.id AND p.root = e.digest)
