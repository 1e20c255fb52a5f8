SELECT
    root, host, sequence, epoch, envelope, leaves, leases, receipts, verdicts, log_index, at
FROM report
WHERE host = $1 AND sequence = $2 AND NOT collected
