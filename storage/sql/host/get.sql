SELECT
    id, owner, expiry, revoked_at, joined, seen, reports, last_report, settled, fuel, voided, outvoted,
    abandoned
FROM host
WHERE id = $1
