SELECT COUNT(*) FROM report WHERE collected
