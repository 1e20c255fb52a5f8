DELETE FROM lease_token WHERE digest = $1 AND reports <= 0
