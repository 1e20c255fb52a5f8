-- Where a lease was given and a result came from (the first 24 bits of an IPv4 address, 48 of an IPv6 address, after a byte of
-- its kind), so that a start keeps replicas of a task apart as before. A result that waits for no others keeps none.
-- Relaxed: a neighbour was at the task already, and no host of elsewhere came in time. Rows of before do not say.
ALTER TABLE lease ADD COLUMN near BLOB;
ALTER TABLE lease ADD COLUMN relaxed BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE replica ADD COLUMN near BLOB;
ALTER TABLE replica ADD COLUMN relaxed BOOLEAN NOT NULL DEFAULT FALSE;
