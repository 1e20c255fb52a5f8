SELECT
    root, host, sequence, epoch, envelope, leaves, leases, receipts, verdicts, log_index, at
FROM report
WHERE log_index = $1 AND NOT collected
