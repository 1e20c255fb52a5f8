-- Every shard's part of every balance, and whose credit it is.
SELECT balance.account, ledger_account.issuer, balance.amount
FROM balance
JOIN ledger_account ON ledger_account.id = balance.account
