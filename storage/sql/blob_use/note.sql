INSERT INTO blob_use (
    digest, job
)
VALUES {rows}
ON CONFLICT (digest, job) DO NOTHING
