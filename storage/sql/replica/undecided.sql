SELECT COUNT(*) FROM replica WHERE job = $1 AND state = 'reported'
