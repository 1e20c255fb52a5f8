-- One that is there already was uploaded again.
INSERT INTO blob (
    digest, length, account, at, touched
)
VALUES {rows}
ON CONFLICT (digest) DO UPDATE SET touched = excluded.touched
WHERE blob.touched < excluded.touched
