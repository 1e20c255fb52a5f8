INSERT INTO lease_token (
    digest, envelope
)
VALUES {rows}
ON CONFLICT (digest) DO NOTHING
