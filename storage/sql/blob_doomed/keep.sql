INSERT INTO blob_doomed (
    digest
)
VALUES {rows}
ON CONFLICT (digest) DO NOTHING
