INSERT INTO job_hold (
    job, kind, account, reason, at
)
VALUES {rows}
ON CONFLICT (job, kind) DO UPDATE SET
    account = excluded.account, reason = excluded.reason, at = excluded.at
