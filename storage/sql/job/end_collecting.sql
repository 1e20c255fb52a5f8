UPDATE job SET collected = $2 WHERE number = $1
