DELETE FROM seat WHERE id = 1 AND epoch = $1
