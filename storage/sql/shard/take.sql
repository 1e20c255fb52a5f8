INSERT INTO shard (shard, owner, epoch) VALUES {rows}
ON CONFLICT (shard) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch
