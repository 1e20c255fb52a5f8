UPDATE seat SET beat = beat + 1 WHERE id = 1 AND epoch = $1
