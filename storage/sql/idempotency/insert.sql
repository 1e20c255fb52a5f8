INSERT INTO idempotency (
    account, route, name, request, subject, at
)
VALUES {rows}
