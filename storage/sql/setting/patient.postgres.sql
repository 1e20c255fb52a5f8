-- For a transaction that reads tables as a whole.
SELECT
    set_config('statement_timeout', '9min', TRUE),
    set_config('enable_seqscan', 'on', TRUE),
    set_config('enable_hashjoin', 'on', TRUE),
    set_config('enable_mergejoin', 'on', TRUE),
    set_config('enable_bitmapscan', 'on', TRUE)
