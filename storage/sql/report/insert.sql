INSERT INTO report (
    root, host, sequence, epoch, envelope, leaves, leases, receipts, verdicts, log_index, at
)
VALUES {rows}
