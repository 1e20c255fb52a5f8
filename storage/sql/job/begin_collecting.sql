UPDATE job SET collecting = $2 WHERE number = $1 AND collecting IS NULL
