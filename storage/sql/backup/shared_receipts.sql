-- Receipts for which several results stand.
SELECT COUNT(*)
FROM (SELECT report, position FROM replica GROUP BY report, position HAVING COUNT(*) > 1) AS shared
