SELECT digest FROM blob_doomed WHERE digest > $1 ORDER BY digest LIMIT $2
