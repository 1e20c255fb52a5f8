WITH charged (digest, owner_id, payer_id) AS (VALUES {rows})
UPDATE blob SET account = charged.payer_id
FROM charged
WHERE blob.digest = charged.digest AND blob.account = charged.owner_id
