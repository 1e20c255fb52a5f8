-- Packs that hold the receipts of a task, each once.
SELECT k.report, k.position, k.packing, k.bytes, j.id AS job
FROM receipt_pack AS k
JOIN job AS j ON j.number = k.job
WHERE
    (k.report, k.position) IN (
        SELECT p.report, p.position
        FROM replica AS r
        JOIN receipt_pack AS p ON p.report = r.report AND p.job = r.job
        WHERE
            r.job = (SELECT number FROM job WHERE id = $1) AND r.task = $2
            AND p.position <= r.position AND p.last >= r.position
    )
