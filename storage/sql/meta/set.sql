INSERT INTO meta (name, value)
VALUES {rows}
ON CONFLICT (name) DO UPDATE SET value = excluded.value
