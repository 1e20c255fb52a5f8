INSERT INTO admin_entry (id, actor, action, subject, reason, at) VALUES ($1, $2, $3, $4, $5, $6)
