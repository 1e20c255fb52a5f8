DELETE FROM blob_doomed WHERE digest IN (VALUES {rows})
