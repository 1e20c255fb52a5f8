-- Every job with its signed manifest: tariff and policy are read from it.
SELECT id, envelope FROM job
