-- Where the receipts of a task stand whose output or log is a blob.
SELECT report, position
FROM replica
WHERE job = $1 AND task = $2 AND (output IS NULL OR log IS NULL)
ORDER BY report, position
