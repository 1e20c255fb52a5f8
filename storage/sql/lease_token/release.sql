UPDATE lease_token SET reports = reports - 1 WHERE digest = $1
