-- Reports before a time, after one of them: 1 for those of which no receipt is kept. Counted up to one: what only may exist
-- may be planned as a list of all that do.
SELECT
    log_index,
    1 - (
        SELECT COUNT(*)
        FROM (
            SELECT 1
            FROM receipt_pack AS k
            WHERE k.report = report.log_index
            ORDER BY k.position
            LIMIT 1
        ) AS kept
    )
FROM report
WHERE NOT collected AND log_index > $1 AND at <= $2
ORDER BY log_index
LIMIT $3
