-- Balances that are not what the transfers give, in either direction: found, then expected.
WITH side AS (
    SELECT credit AS account, amount FROM transfer
    UNION ALL
    SELECT debit, -amount FROM transfer
    UNION ALL
    SELECT account, 0 FROM balance
),
expected AS (SELECT account, CAST(SUM(amount) AS BIGINT) AS amount FROM side GROUP BY account),
held AS (SELECT account, CAST(SUM(amount) AS BIGINT) AS amount FROM balance GROUP BY account)
SELECT e.account, COALESCE(h.amount, 0), e.amount
FROM expected AS e
LEFT JOIN held AS h ON h.account = e.account
WHERE COALESCE(h.amount, 0) <> e.amount
ORDER BY e.account
LIMIT 100
