UPDATE report SET envelope = $2, leaves = $2, leases = $2, collected = TRUE WHERE log_index = $1
