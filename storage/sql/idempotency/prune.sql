DELETE FROM idempotency WHERE at < $1
