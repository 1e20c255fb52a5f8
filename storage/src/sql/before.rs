//! A database of before, and what must be true of it after the migrations. Bytes are written as SQLite does.

/// A database of the schema before packs, with neighbourhoods or without: a job and its lease, a host with a report of two
/// receipts of which one became a replica, and its decision.
pub(crate) const PACKS: &str = "
    INSERT INTO job (id, shard, epoch, number, payer, submitter, module, title, envelope, state, tasks, final_tasks, failed_tasks,
        provisional_tasks, largest_input, escrow, held_granted, spent, fuel, submitted, deadline)
    VALUES (x'11', 0, 1, 40, x'01', x'01', x'03', 't', x'00', 'running', 9, 0, 0, 0, 1, 1, 1, 1, 1, 1, 9);
    INSERT INTO host (id, shard, owner, expiry, joined, seen, reports, last_report, settled, fuel, voided, outvoted, abandoned)
    VALUES (x'22', 0, x'01', 9, 1, 1, 1, x'00', 0, 0, 0, 0, 0), (x'21', 0, x'01', 9, 2, 1, 1, x'00', 0, 0, 0, 0, 0);
    INSERT INTO report (root, host, sequence, epoch, envelope, leaves, leases, receipts, verdicts, log_index, at)
    VALUES (x'33', x'21', 0, 1, x'00', x'0a0b', x'44', 2, x'0003', 7, 10),
        (x'34', x'21', 1, 1, x'00', x'', x'a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0', 0, x'', 8, 10), (x'35', x'21', 2, 1, x'00', x'', x'b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0', 0, x'', 9, 10),
        (x'36', x'21', 3, 1, x'00', x'', x'', 0, x'', 10, 10);
    INSERT INTO lease_token (digest, envelope) VALUES (x'44', x'00'), (x'45', x'00'), (x'a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0', x'00'), (x'b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0', x'00');
    INSERT INTO blob (digest, length, account, at) VALUES (x'51', 1, x'01', 10);
    INSERT INTO lease (attempt, digest, job, host, owner, first_task, tasks, epoch, issued, expiry)
    VALUES (x'00000000000000000000000000000000', x'0000000000000000000000000000000000000000000000000000000000000000', x'0000000000000000000000000000000000000000000000000000000000000000', x'0000000000000000000000000000000000000000000000000000000000000000', x'0000000000000000000000000000000000000000000000000000000000000000', 4, 2, 1, 9, 10);
    INSERT INTO replica (job, task, segment, host, owner, attempt, state, report, position, receipt, lease, output, amount, at)
    VALUES (x'11', 3, 0, x'21', x'55', x'66', 'final', x'33', 1, x'77', x'44', x'88', 9, 10);
    INSERT INTO task (job, task, segment, sequence, state, host, fuel, at)
    VALUES (x'11', 3, 0, 5, 'final', x'21', 11, 10), (x'11', 4, 0, 6, 'failed', NULL, NULL, 10)";

/// Queries that answer 1, and what they are about.
pub(crate) const SOUND: [(&str, &str); 10] = [
    (
        "SELECT CAST(r.job = 40 AND r.task = 3 AND r.segment = 0 AND h.id = x'21' AND h.number = 2 AND r.state = 'final'
            AND r.report = 7 AND r.position = 1 AND l.digest = x'44' AND l.attempt = x'66' AND l.owner = x'55'
            AND r.output = x'88' AND r.log IS NULL AND r.amount = 9 AND r.near IS NULL AND NOT r.relaxed AS BIGINT)
        FROM replica AS r JOIN host AS h ON h.number = r.host JOIN lease_token AS l ON l.number = r.lease",
        "the replica",
    ),
    (
        "SELECT CAST(report = 7 AND job = 40 AND position = 1 AND last = 1 AND packing = 0 AND bytes = x'77' AS BIGINT)
        FROM receipt_pack",
        "its receipt",
    ),
    ("SELECT CAST(leaves = x'0a0b' AND NOT collected AS BIGINT) FROM report WHERE log_index = 7", "all leaves"),
    ("SELECT CAST(attempt IS NULL AS BIGINT) FROM lease_token WHERE digest = x'45'", "a token without result"),
    ("SELECT CAST(host = 2 AND sequence = 5 AND fuel = 11 AS BIGINT) FROM task WHERE job = 40 AND task = 3", "its decision"),
    ("SELECT CAST(reports = 1 AS BIGINT) FROM lease_token WHERE digest = x'a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0'", "a token that one report names"),
    ("SELECT CAST(reports = 2 AS BIGINT) FROM lease_token WHERE digest = x'b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0'", "a token that two reports name"),
    ("SELECT CAST(NOT noted AND collecting IS NULL AS BIGINT) FROM job", "a job whose blobs are to be noted"),
    ("SELECT CAST(touched = 10 AS BIGINT) FROM blob", "when a blob was uploaded"),
    ("SELECT CAST(host IS NULL AND state = 'failed' AS BIGINT) FROM task WHERE job = 40 AND task = 4", "a failure"),
];
