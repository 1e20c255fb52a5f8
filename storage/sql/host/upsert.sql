-- A host that is new here gets the next number; one that is known keeps its own.
WITH present (
    place, id, shard, owner, expiry, revoked_at, joined, seen, reports, last_report, settled, fuel, voided,
    outvoted, abandoned
) AS (VALUES {rows})
INSERT INTO host (
    number, id, shard, owner, expiry, revoked_at, joined, seen, reports, last_report, settled, fuel, voided,
    outvoted, abandoned
)
SELECT
    (SELECT COALESCE(MAX(number), 0) FROM host) + place, id, shard, owner, expiry, revoked_at, joined, seen, reports,
    last_report, settled, fuel, voided, outvoted, abandoned
FROM present
WHERE TRUE
ON CONFLICT (id) DO UPDATE SET
    shard = excluded.shard, owner = excluded.owner, expiry = excluded.expiry,
    revoked_at = excluded.revoked_at, joined = excluded.joined, seen = excluded.seen,
    reports = excluded.reports, last_report = excluded.last_report, settled = excluded.settled,
    fuel = excluded.fuel, voided = excluded.voided, outvoted = excluded.outvoted,
    abandoned = excluded.abandoned
