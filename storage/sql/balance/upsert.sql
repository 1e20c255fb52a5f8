INSERT INTO balance (
    account, shard, amount, sequence
)
VALUES {rows}
ON CONFLICT (account, shard) DO UPDATE SET
    amount = excluded.amount, sequence = excluded.sequence
