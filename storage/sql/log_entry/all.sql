SELECT digest FROM log_entry ORDER BY id
