INSERT INTO account (
    id, shard, current_key, recovery, rotations, status, granted, joined
)
VALUES {rows}
ON CONFLICT (id) DO UPDATE SET
    shard = excluded.shard, current_key = excluded.current_key, recovery = excluded.recovery,
    rotations = excluded.rotations, status = excluded.status, granted = excluded.granted,
    joined = excluded.joined
