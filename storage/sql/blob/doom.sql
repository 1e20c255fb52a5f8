DELETE FROM blob
WHERE
    digest = $1 AND touched <= $2
    AND NOT EXISTS (SELECT 1 FROM blob_use AS u WHERE u.digest = blob.digest)
    AND NOT EXISTS (SELECT 1 FROM job AS j WHERE NOT j.noted)
