SELECT
    kind, subject, reason, at
FROM suspension
ORDER BY kind, subject
