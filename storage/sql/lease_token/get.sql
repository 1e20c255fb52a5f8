SELECT envelope FROM lease_token WHERE digest = $1
