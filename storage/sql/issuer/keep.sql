INSERT INTO issuer (
    id, since
)
VALUES {rows}
ON CONFLICT (id) DO NOTHING
