DELETE FROM void_run
WHERE id IN (SELECT id FROM void_run WHERE job = $1 ORDER BY task, id LIMIT $2)
