INSERT INTO admin_entry (
    id, actor, action, subject, reason, at
)
VALUES {rows}
