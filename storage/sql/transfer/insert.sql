INSERT INTO transfer (
    id, issuer, kind, debit, credit, amount, job, host, evidence, shard, at
)
VALUES {rows}
