-- Long tasks: a host has one result of each segment of a task, and agreed segments say where the next ones begin.

-- The same rows under a key with the segment; 0 where a task is not divided.
CREATE TABLE replica_by_segment (
    job BLOB NOT NULL,
    task BIGINT NOT NULL,
    segment BIGINT NOT NULL,
    host BLOB NOT NULL,
    owner BLOB NOT NULL,
    attempt BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('reported', 'provisional', 'final', 'lost', 'stopped', 'void')),
    report BLOB NOT NULL,
    position BIGINT NOT NULL,
    receipt BLOB NOT NULL,
    lease BLOB NOT NULL,
    output BLOB,
    log BLOB,
    amount BIGINT NOT NULL,
    final_after BIGINT,
    at BIGINT NOT NULL,
    PRIMARY KEY (job, task, segment, host)
);
INSERT INTO replica_by_segment (
    job, task, segment, host, owner, attempt, state, report, position, receipt, lease, output, log, amount,
    final_after, at
)
SELECT
    job, task, 0, host, owner, attempt, state, report, position, receipt, lease, output, log, amount,
    final_after, at
FROM replica;
DROP TABLE replica;
ALTER TABLE replica_by_segment RENAME TO replica;
CREATE INDEX replica_by_report ON replica (report, position);
CREATE INDEX replica_undecided ON replica (job, task, segment, host) WHERE state = 'reported';

-- The segment that decided a task.
ALTER TABLE task ADD COLUMN segment BIGINT NOT NULL DEFAULT 0;

-- Segments on which hosts agreed and after which there is more to do: state root, fuel of the task and snapshot at their end.
CREATE TABLE segment (
    job BLOB NOT NULL,
    task BIGINT NOT NULL,
    segment BIGINT NOT NULL,
    root BLOB NOT NULL,
    fuel BIGINT NOT NULL,
    snapshot BLOB NOT NULL,
    length BIGINT NOT NULL,
    host BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (job, task, segment)
);
