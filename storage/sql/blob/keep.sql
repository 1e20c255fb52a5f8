INSERT INTO blob (
    digest, length, account, at
)
VALUES {rows}
ON CONFLICT (digest) DO NOTHING
