SELECT
    (SELECT COALESCE(MAX(number), 0) FROM job) AS job,
    (SELECT COALESCE(MAX(id), 0) FROM transfer) AS transfer,
    (SELECT COALESCE(MAX(id), 0) FROM void_run) AS void,
    (SELECT COALESCE(MAX(id), 0) FROM admin_entry) AS admin,
    (SELECT COALESCE(MAX(id), 0) FROM key_entry) AS key,
    (SELECT COALESCE(MAX(id), 0) FROM log_entry) AS log
