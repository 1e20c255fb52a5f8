-- What nobody needs any more can go: results of jobs long over, and blobs that no job names.

-- Since when the results of a job are not there for anybody, and when the last of its rows had gone. The job keeps its own.
ALTER TABLE job ADD COLUMN collecting BIGINT;
ALTER TABLE job ADD COLUMN collected BIGINT;
CREATE INDEX job_to_collect ON job (finished, number) WHERE finished IS NOT NULL AND collected IS NULL;
CREATE INDEX job_in_collection ON job (number) WHERE collecting IS NOT NULL AND collected IS NULL;

-- While a job has a hold, nothing of its results goes.
CREATE TABLE job_hold (
    job BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('payer', 'operator')),
    account BLOB NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (job, kind)
);

-- Jobs that need a blob: their module, files and inputs, and what hosts reported to them.
CREATE TABLE blob_use (
    digest BLOB NOT NULL,
    job BIGINT NOT NULL,
    PRIMARY KEY (digest, job)
);
CREATE INDEX blob_use_by_job ON blob_use (job, digest);

-- Whether the rows above hold all that the job needs. Jobs of before are noted one after the other while the coordinator runs;
-- until they all are, no blob goes.
ALTER TABLE job ADD COLUMN noted BOOLEAN NOT NULL DEFAULT TRUE;
UPDATE job SET noted = FALSE;
CREATE INDEX job_to_note ON job (number) WHERE NOT noted;

-- When a blob was uploaded last.
ALTER TABLE blob ADD COLUMN touched BIGINT NOT NULL DEFAULT 0;
UPDATE blob SET touched = at;

-- Blobs that have gone from the table of blobs, and whose bytes are still to go.
CREATE TABLE blob_doomed (
    digest BLOB NOT NULL PRIMARY KEY
);

-- A report of which no receipt is kept has neither signature, leaves nor leases any more. What is left answers when it comes
-- again, and says which root stands at its place in the log.
ALTER TABLE report ADD COLUMN collected BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX report_to_collect ON report (log_index) WHERE NOT collected;

-- How many reports that are kept name a lease token; it goes with the last of them.
ALTER TABLE lease_token ADD COLUMN reports BIGINT NOT NULL DEFAULT 0;
WITH RECURSIVE part (rest) AS (
    SELECT leases FROM report WHERE length(leases) > 0
    UNION ALL
    SELECT substr(rest, 33) FROM part WHERE length(rest) > 32
),
named (digest, reports) AS (SELECT substr(rest, 1, 32), COUNT(*) FROM part GROUP BY substr(rest, 1, 32))
UPDATE lease_token SET reports = named.reports
FROM named
WHERE named.digest = lease_token.digest;
