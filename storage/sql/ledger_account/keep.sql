INSERT INTO ledger_account (
    id, issuer, kind, owner, job, host
)
VALUES {rows}
ON CONFLICT (id) DO NOTHING
