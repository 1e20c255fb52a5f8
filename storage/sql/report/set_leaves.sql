UPDATE report SET leaves = $2 WHERE log_index = $1
