-- Only from the one that was seen, and only if it has not moved since.
UPDATE seat SET address = $1, epoch = $2, beat = 0
WHERE id = 1 AND epoch = $3 AND beat = $4
