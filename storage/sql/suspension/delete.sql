DELETE FROM suspension WHERE kind = $1 AND subject = $2
