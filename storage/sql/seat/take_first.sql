INSERT INTO seat (id, address, epoch, beat) VALUES (1, $1, $2, 0)
ON CONFLICT (id) DO NOTHING
