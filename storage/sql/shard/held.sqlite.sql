SELECT COUNT(*) FROM shard WHERE owner = $1 AND epoch = $2
