-- A token that is there already learns whose grant it was when the first of its results becomes a replica.
WITH used (place, digest, envelope, attempt, owner, reports) AS (VALUES {rows})
INSERT INTO lease_token (number, digest, envelope, attempt, owner, reports)
SELECT (SELECT COALESCE(MAX(number), 0) FROM lease_token) + place, digest, envelope, attempt, owner, reports
FROM used
WHERE TRUE
ON CONFLICT (digest) DO UPDATE SET
    attempt = COALESCE(lease_token.attempt, excluded.attempt), owner = COALESCE(lease_token.owner, excluded.owner),
    reports = lease_token.reports + excluded.reports
