SELECT
    root, host, sequence, epoch, envelope, leaves, leases, receipts, verdicts, log_index, at
FROM report
WHERE root = $1 AND NOT collected
