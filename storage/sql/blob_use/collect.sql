DELETE FROM blob_use
WHERE (digest, job) IN (SELECT digest, job FROM blob_use WHERE job = $1 ORDER BY digest LIMIT $2)
