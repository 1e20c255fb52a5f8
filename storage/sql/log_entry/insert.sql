INSERT INTO log_entry (
    id, kind, digest, at
)
VALUES {rows}
