SELECT
    account, route, name, request, subject, at
FROM idempotency
WHERE account = $1 AND route = $2 AND name = $3
