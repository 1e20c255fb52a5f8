SELECT
    account, route, name, request, subject, at
FROM idempotency
WHERE at >= $1
ORDER BY account, route, name
