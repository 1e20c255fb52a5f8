-- The first schema: what the engine must find again after a crash, and what people and auditors read.
-- Shared by SQLite and PostgreSQL. Ids, keys and digests are BLOB (which PostgreSQL reads as BYTEA), times BIGINT microseconds, money BIGINT micro-credits.

-- Facts about this database: network, coordinator key, commit sequence, high-water mark of the clock.
CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
);

-- 64 shards; every commit checks that its owner and epoch still stand here.
CREATE TABLE shard (
    shard SMALLINT NOT NULL PRIMARY KEY,
    owner BLOB NOT NULL,
    epoch BIGINT NOT NULL
);

-- Who issues credit: sums are zero per issuer.
CREATE TABLE issuer (
    id BLOB NOT NULL PRIMARY KEY,
    since BIGINT NOT NULL
);

-- People and organisations, by the first key they published.
CREATE TABLE account (
    id BLOB NOT NULL PRIMARY KEY,
    shard SMALLINT NOT NULL,
    current_key BLOB NOT NULL,
    recovery BLOB,
    rotations BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'waiting', 'suspended')),
    granted BIGINT NOT NULL,
    joined BIGINT NOT NULL
);
CREATE UNIQUE INDEX account_by_current_key ON account (current_key);

-- Signed statements about keys, in the order in which they were accepted: a signature counts only if logged before a revocation.
CREATE TABLE key_entry (
    id BIGINT NOT NULL PRIMARY KEY,
    account BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('account', 'host-binding', 'rotation', 'revocation')),
    envelope BLOB NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX key_entry_by_account ON key_entry (account, id);

-- Volunteer machines. Counters are the host's standing; the cursor into its reports orders and de-duplicates them.
CREATE TABLE host (
    id BLOB NOT NULL PRIMARY KEY,
    shard SMALLINT NOT NULL,
    owner BLOB NOT NULL,
    expiry BIGINT NOT NULL,
    revoked_at BIGINT,
    joined BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    reports BIGINT NOT NULL,
    last_report BLOB NOT NULL,
    settled BIGINT NOT NULL,
    fuel BIGINT NOT NULL,
    voided BIGINT NOT NULL,
    outvoted BIGINT NOT NULL,
    abandoned BIGINT NOT NULL
);
CREATE INDEX host_by_owner ON host (owner, id);

-- A job and the totals its pages add up to.
CREATE TABLE job (
    id BLOB NOT NULL PRIMARY KEY,
    shard SMALLINT NOT NULL,
    epoch BIGINT NOT NULL,
    number BIGINT NOT NULL,
    payer BLOB NOT NULL,
    submitter BLOB NOT NULL,
    module BLOB NOT NULL,
    title TEXT NOT NULL,
    envelope BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'stopping', 'finished', 'cancelled', 'expired', 'suspended')),
    tasks BIGINT NOT NULL,
    final_tasks BIGINT NOT NULL,
    failed_tasks BIGINT NOT NULL,
    provisional_tasks BIGINT NOT NULL,
    largest_input BIGINT NOT NULL,
    escrow BIGINT NOT NULL,
    held_granted BIGINT NOT NULL,
    spent BIGINT NOT NULL,
    fuel BIGINT NOT NULL,
    submitted BIGINT NOT NULL,
    finished BIGINT,
    deadline BIGINT NOT NULL
);
CREATE UNIQUE INDEX job_by_number ON job (number);
CREATE INDEX job_by_payer ON job (payer, number);
CREATE INDEX job_by_state ON job (state, number);

-- Slot states, two bits a task in pages of 4,096: 0 pending, 1 provisional, 2 final, 3 failed.
-- A page that was never written is all pending.
CREATE TABLE job_page (
    job BLOB NOT NULL,
    page BIGINT NOT NULL,
    states BLOB NOT NULL,
    PRIMARY KEY (job, page)
);

-- Leases in force. The token itself is with the host; this row lets recovery give every lease a full grace term.
CREATE TABLE lease (
    attempt BLOB NOT NULL PRIMARY KEY,
    digest BLOB NOT NULL,
    job BLOB NOT NULL,
    host BLOB NOT NULL,
    owner BLOB NOT NULL,
    first_task BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    issued BIGINT NOT NULL,
    expiry BIGINT NOT NULL
);

-- Signed reports. The root is the idempotency key; log_index is the promised position in the log. Leaves and leases are
-- digests of 32 bytes in a row: the leaves give Merkle paths, the leases name rows of lease_token.
CREATE TABLE report (
    root BLOB NOT NULL PRIMARY KEY,
    host BLOB NOT NULL,
    sequence BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    envelope BLOB NOT NULL,
    leaves BLOB NOT NULL,
    leases BLOB NOT NULL,
    receipts BIGINT NOT NULL,
    verdicts BLOB NOT NULL,
    log_index BIGINT NOT NULL,
    at BIGINT NOT NULL
);
CREATE UNIQUE INDEX report_by_host ON report (host, sequence);

-- Lease tokens as signed, once per token that a report used: evidence shows them after the lease is gone.
CREATE TABLE lease_token (
    digest BLOB NOT NULL PRIMARY KEY,
    envelope BLOB NOT NULL
);

-- One reported execution of a task by one host. Slot states: reported waits for others, provisional is paid into pending,
-- final is paid out, lost was outvoted, stopped was paid up to its last slice, void was withdrawn by a conviction.
CREATE TABLE replica (
    job BLOB NOT NULL,
    task BIGINT NOT NULL,
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
    PRIMARY KEY (job, task, host)
);
CREATE INDEX replica_by_report ON replica (report, position);
CREATE INDEX replica_undecided ON replica (job, task, host) WHERE state = 'reported';

-- Decided tasks in the order in which they were decided: the cursor that result streams follow.
CREATE TABLE task (
    job BLOB NOT NULL,
    task BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('provisional', 'final', 'failed')),
    host BLOB,
    cause TEXT,
    outcome SMALLINT,
    code SMALLINT,
    fuel BIGINT,
    output BLOB,
    output_bytes BIGINT,
    at BIGINT NOT NULL,
    PRIMARY KEY (job, task)
);
CREATE INDEX task_by_sequence ON task (job, sequence);

-- Runs that ended for a reason that is not the guest's: no receipt, no vote, no pay.
CREATE TABLE void_run (
    id BIGINT NOT NULL PRIMARY KEY,
    job BLOB NOT NULL,
    task BIGINT NOT NULL,
    host BLOB NOT NULL,
    owner BLOB NOT NULL,
    cause SMALLINT NOT NULL,
    detail TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX void_run_by_task ON void_run (job, task);

-- Accounts of the ledger: an account's available credit, one escrow per job, one pending per (job, host),
-- an audit pool and the grants of each issuer.
CREATE TABLE ledger_account (
    id BLOB NOT NULL PRIMARY KEY,
    issuer BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('available', 'granted', 'escrow', 'pending', 'audit_pool', 'grants', 'fees', 'clearing')),
    owner BLOB,
    job BLOB,
    host BLOB
);
CREATE INDEX ledger_account_by_owner ON ledger_account (owner);
CREATE INDEX ledger_account_by_job ON ledger_account (job);

-- Balances, one row per shard that pays into the account, so that no two coordinators write one row.
CREATE TABLE balance (
    account BLOB NOT NULL,
    shard SMALLINT NOT NULL,
    amount BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (account, shard)
);

-- Append-only. One transfer per commit and (job, host, kind); evidence is the root of the slots it settles.
CREATE TABLE transfer (
    id BIGINT NOT NULL PRIMARY KEY,
    issuer BLOB NOT NULL,
    kind TEXT NOT NULL,
    debit BLOB NOT NULL,
    credit BLOB NOT NULL,
    amount BIGINT NOT NULL CHECK (amount > 0),
    job BLOB,
    host BLOB,
    evidence BLOB NOT NULL,
    shard SMALLINT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX transfer_by_debit ON transfer (debit, id);
CREATE INDEX transfer_by_credit ON transfer (credit, id);
CREATE INDEX transfer_by_job ON transfer (job, id);

-- Leaves of the transparency log in order; salted leaves reveal nothing before a task is decided.
CREATE TABLE log_entry (
    id BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('report', 'transfer', 'key', 'admin', 'draw', 'conviction', 'parameters')),
    digest BLOB NOT NULL,
    at BIGINT NOT NULL
);

-- What a shard owes another one (outcomes of hosts, credits), applied exactly once by id.
CREATE TABLE outbox (
    id BLOB NOT NULL PRIMARY KEY,
    shard SMALLINT NOT NULL,
    kind TEXT NOT NULL,
    payload BLOB NOT NULL,
    at BIGINT NOT NULL
);

-- Accounts, modules, jobs and hosts that get no leases, with the reason that people read.
CREATE TABLE suspension (
    kind TEXT NOT NULL CHECK (kind IN ('account', 'module', 'job', 'host')),
    subject BLOB NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (kind, subject)
);

-- What operators did, for everybody to read.
CREATE TABLE admin_entry (
    id BIGINT NOT NULL PRIMARY KEY,
    actor BLOB NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL
);

-- Content-addressed bytes that the blob store holds, and who uploaded them first.
CREATE TABLE blob (
    digest BLOB NOT NULL PRIMARY KEY,
    length BIGINT NOT NULL,
    account BLOB NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX blob_by_account ON blob (account, digest);

-- Answers already given under an idempotency key: same key and same request give the same answer for seven days.
-- The subject says what the answer was about; the answer itself is made again from it.
CREATE TABLE idempotency (
    account BLOB NOT NULL,
    route TEXT NOT NULL,
    name TEXT NOT NULL,
    request BLOB NOT NULL,
    subject BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (account, route, name)
);
CREATE INDEX idempotency_by_time ON idempotency (at);
