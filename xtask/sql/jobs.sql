-- Every job with its signed manifest: tariff and policy are read from it. Receipts of one that is being collected are no longer
-- all there.
SELECT id, envelope, COALESCE(collecting, 0) AS collecting FROM job
