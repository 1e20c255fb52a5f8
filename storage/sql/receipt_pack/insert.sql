WITH packed (report_id, job_id, position, last, packing, bytes) AS (VALUES {rows})
INSERT INTO receipt_pack (
    report, job, position, last, packing, bytes
)
SELECT
    (SELECT log_index FROM report WHERE root = report_id), (SELECT number FROM job WHERE id = job_id), position, last, packing,
    bytes
FROM packed
