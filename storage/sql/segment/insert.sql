INSERT INTO segment (job, task, segment, root, fuel, snapshot, length, host, at)
VALUES {rows}
