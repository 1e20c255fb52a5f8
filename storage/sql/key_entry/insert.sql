INSERT INTO key_entry (
    id, account, kind, envelope, at
)
VALUES {rows}
