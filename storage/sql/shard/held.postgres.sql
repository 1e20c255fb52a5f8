-- With the rows locked until the transaction ends: whoever takes them over waits for it, and it waits for them.
SELECT COUNT(*)
FROM (SELECT shard FROM shard WHERE owner = $1 AND epoch = $2 ORDER BY shard FOR UPDATE) AS held
