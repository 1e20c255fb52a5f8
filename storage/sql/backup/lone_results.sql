-- Results whose job, host, report, lease token or receipt is not there, or whose report is another host's. Those that are being
-- collected lose them one after the other.
SELECT COUNT(*)
FROM replica AS r
LEFT JOIN job AS j ON j.number = r.job
WHERE
    j.collecting IS NULL
    AND (
        j.number IS NULL
        OR NOT EXISTS (
            SELECT 1
            FROM report AS p
            JOIN host AS h ON h.id = p.host
            WHERE p.log_index = r.report AND h.number = r.host
        )
        OR NOT EXISTS (SELECT 1 FROM lease_token AS l WHERE l.number = r.lease)
        OR NOT EXISTS (
            SELECT 1
            FROM receipt_pack AS k
            WHERE k.report = r.report AND k.job = r.job AND k.position <= r.position AND k.last >= r.position
        )
    )
