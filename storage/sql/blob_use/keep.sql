WITH needed (digest, job_id) AS (VALUES {rows})
INSERT INTO blob_use (digest, job)
SELECT digest, (SELECT number FROM job WHERE id = job_id)
FROM needed
WHERE TRUE
ON CONFLICT (digest, job) DO NOTHING
