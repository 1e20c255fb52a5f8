SELECT
    id, actor, action, subject, reason, at
FROM admin_entry
WHERE id > $1
ORDER BY id
LIMIT $2
