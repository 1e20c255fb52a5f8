-- What a finished task keeps on disk is a third of what it was: rows name jobs, hosts, reports and lease tokens by number, and
-- receipts stand together in packs.

-- Hosts by number, in the order in which they joined.
ALTER TABLE host ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
UPDATE host SET number = n.number
FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY joined, id) AS number FROM host) AS n
WHERE n.id = host.id;
CREATE UNIQUE INDEX host_by_number ON host (number);

-- A report's number is its place in the log.
CREATE UNIQUE INDEX report_by_number ON report (log_index);

-- Lease tokens by number, with whose grant each was, as far as a result became a replica.
ALTER TABLE lease_token ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lease_token ADD COLUMN attempt BLOB;
ALTER TABLE lease_token ADD COLUMN owner BLOB;
UPDATE lease_token SET number = n.number
FROM (SELECT digest, ROW_NUMBER() OVER (ORDER BY digest) AS number FROM lease_token) AS n
WHERE n.digest = lease_token.digest;
UPDATE lease_token SET attempt = r.attempt, owner = r.owner
FROM (SELECT DISTINCT lease, attempt, owner FROM replica) AS r
WHERE r.lease = lease_token.digest;
CREATE UNIQUE INDEX lease_token_by_number ON lease_token (number);

-- Receipts of one job in one report that became replicas, from the position `position` to `last`. Packing 0: one receipt as it
-- was encoded. Packing 1: several in an LZ4 block after its size (four little-endian bytes), each after the four big-endian bytes
-- of the gap to the position before it and the four of its length. From here on the leaves of a report are only those whose
-- receipts are in no pack.
CREATE TABLE receipt_pack (
    report BIGINT NOT NULL,
    job BIGINT NOT NULL,
    position BIGINT NOT NULL,
    last BIGINT NOT NULL,
    packing SMALLINT NOT NULL CHECK (packing IN (0, 1)),
    bytes BLOB NOT NULL,
    PRIMARY KEY (report, position)
);
INSERT INTO receipt_pack (report, job, position, last, packing, bytes)
SELECT p.log_index, j.number, r.position, r.position, 0, r.receipt
FROM replica AS r
JOIN job AS j ON j.id = r.job
JOIN report AS p ON p.root = r.report;

-- Owner and attempt are those of the lease token, the time is that of the report.
CREATE TABLE replica_by_number (
    job BIGINT NOT NULL,
    task BIGINT NOT NULL,
    segment BIGINT NOT NULL,
    host BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('reported', 'provisional', 'final', 'lost', 'stopped', 'void')),
    report BIGINT NOT NULL,
    position BIGINT NOT NULL,
    lease BIGINT NOT NULL,
    output BLOB,
    log BLOB,
    amount BIGINT NOT NULL,
    final_after BIGINT,
    near BLOB,
    relaxed BOOLEAN NOT NULL,
    PRIMARY KEY (job, task, segment, host)
);
INSERT INTO replica_by_number (
    job, task, segment, host, state, report, position, lease, output, log, amount, final_after, near, relaxed
)
SELECT
    j.number, r.task, r.segment, h.number, r.state, p.log_index, r.position, l.number, r.output, r.log, r.amount,
    r.final_after, r.near, r.relaxed
FROM replica AS r
JOIN job AS j ON j.id = r.job
JOIN host AS h ON h.id = r.host
JOIN report AS p ON p.root = r.report
JOIN lease_token AS l ON l.digest = r.lease;
-- A row that names what is not there would be lost: then nothing is changed at all.
CREATE TABLE rows_kept (kept BOOLEAN NOT NULL CHECK (kept));
INSERT INTO rows_kept (kept)
SELECT
    (SELECT COUNT(*) FROM replica) = (SELECT COUNT(*) FROM replica_by_number)
    AND (SELECT COUNT(*) FROM replica) = (SELECT COUNT(*) FROM receipt_pack);
DROP TABLE replica;
ALTER TABLE replica_by_number RENAME TO replica;
CREATE INDEX replica_undecided ON replica (job, task, segment, host) WHERE state = 'reported';

CREATE TABLE task_by_number (
    job BIGINT NOT NULL,
    task BIGINT NOT NULL,
    segment BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('provisional', 'final', 'failed')),
    host BIGINT,
    cause TEXT,
    outcome SMALLINT,
    code SMALLINT,
    fuel BIGINT,
    output BLOB,
    output_bytes BIGINT,
    at BIGINT NOT NULL,
    PRIMARY KEY (job, task)
);
INSERT INTO task_by_number (
    job, task, segment, sequence, state, host, cause, outcome, code, fuel, output, output_bytes, at
)
SELECT
    j.number, t.task, t.segment, t.sequence, t.state, h.number, t.cause, t.outcome, t.code, t.fuel, t.output, t.output_bytes,
    t.at
FROM task AS t
JOIN job AS j ON j.id = t.job
LEFT JOIN host AS h ON h.id = t.host;
INSERT INTO rows_kept (kept) SELECT (SELECT COUNT(*) FROM task) = (SELECT COUNT(*) FROM task_by_number);
DROP TABLE rows_kept;
DROP TABLE task;
ALTER TABLE task_by_number RENAME TO task;
CREATE INDEX task_by_sequence ON task (job, sequence);
