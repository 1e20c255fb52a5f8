-- The first job of before whose blobs are not noted.
SELECT number, envelope
FROM job
WHERE NOT noted
ORDER BY number
LIMIT 1
