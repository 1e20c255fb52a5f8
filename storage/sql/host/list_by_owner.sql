SELECT
    id, owner, expiry, revoked_at, joined, seen, reports, last_report, settled, fuel, voided, outvoted,
    abandoned
FROM host
WHERE owner = $1 AND id > $2
ORDER BY id
LIMIT $3
