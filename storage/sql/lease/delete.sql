DELETE FROM lease WHERE attempt IN (VALUES {rows})
