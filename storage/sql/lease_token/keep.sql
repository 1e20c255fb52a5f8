-- A token that is there already learns whose grant it was when the first of its results becomes a replica.
WITH used (place, digest, envelope, attempt, owner) AS (VALUES {rows})
INSERT INTO lease_token (number, digest, envelope, attempt, owner)
SELECT (SELECT COALESCE(MAX(number), 0) FROM lease_token) + place, digest, envelope, attempt, owner
FROM used
WHERE TRUE
ON CONFLICT (digest) DO UPDATE SET attempt = excluded.attempt, owner = excluded.owner
WHERE lease_token.attempt IS NULL AND excluded.attempt IS NOT NULL
