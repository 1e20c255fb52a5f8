UPDATE job SET noted = TRUE WHERE number = $1
