INSERT INTO suspension (
    kind, subject, reason, at
)
VALUES {rows}
ON CONFLICT (kind, subject) DO UPDATE SET
    reason = excluded.reason, at = excluded.at
