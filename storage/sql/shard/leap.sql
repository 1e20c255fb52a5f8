UPDATE shard SET epoch = epoch + $1
