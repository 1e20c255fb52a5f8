INSERT INTO meta (name, value) VALUES ('sequence', $1)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
