//! Labels for why something was refused: few, whatever hosts and operators write.

use tallymill_engine::Refusal;

/// Fields by which a report or a receipt is refused. What a reason begins with and is none of them is told as `other`.
const FIELDS: [&str; 34] = [
    "bytes_in",
    "bytes_out",
    "count",
    "epoch",
    "format",
    "fuel",
    "host",
    "leases",
    "leases.coordinator",
    "leases.epoch",
    "leases.host",
    "leases.network",
    "limits",
    "log",
    "memory_fuel",
    "metered",
    "module",
    "output",
    "peak_memory",
    "receipts",
    "receipts.lease",
    "report",
    "report.coordinator",
    "report.format",
    "report.host",
    "report.logs",
    "report.network",
    "report.outputs",
    "report.root",
    "root",
    "segment",
    "sequence",
    "tariff",
    "task",
];

/// What reasons for having no work say, in the order in which they are looked for, and how each is told.
const WAITS: [(&str, &str); 17] = [
    ("this host is suspended", "host-suspended"),
    ("the owner's account is suspended", "owner-suspended"),
    ("waits for approval", "approval"),
    ("the owner withdrew this host", "withdrawn"),
    ("the binding of this host has ended", "binding"),
    ("no free slot", "no-slot"),
    ("the buffer is full", "full"),
    ("no job has tasks that wait", "no-tasks"),
    ("suspended", "job-suspended"),
    ("own hosts", "own-jobs"),
    ("the owner accepts", "rules"),
    ("the owner refuses", "rules"),
    ("tariff is below", "tariff"),
    ("lacks the feature", "feature"),
    ("its waiting tasks", "other-owner"),
    ("its first result is awaited", "first-result"),
    ("budget", "budget"),
];

/// What a host hears that asks for nothing: no wait.
const UNASKED: &str = "the host asks for nothing";

/// The field that a report or receipt was refused for.
pub fn field(reason: &str) -> &'static str {
    // The engine says first which task it is about; a receipt may name one that is none.
    let why = match reason.strip_prefix("task ").and_then(|text| text.split_once(": ")) {
        Some((number, why)) if number.parse::<u32>().is_ok() => why,
        _ => reason,
    };
    let name = why.split_once(':').map_or(why, |(name, _)| name);
    let parts = name.split_once('[').and_then(|(list, rest)| Some((list, rest.split_once(']')?.1)));
    let known = |known: &&str| match parts {
        Some((list, rest)) => known.strip_prefix(list) == Some(rest),
        None => *known == name,
    };
    FIELDS.into_iter().find(|it| known(it)).unwrap_or("other")
}

/// Why a host that asked has no work; `None` when it did not ask.
pub fn wait(reason: &str) -> Option<&'static str> {
    if reason == UNASKED {
        return None;
    }
    let found = WAITS.iter().find(|(text, _)| reason.contains(text));
    Some(found.map_or("other", |(_, label)| label))
}

/// Why a command was refused.
pub const fn refusal(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownAccount(_) => "unknown-account",
        Refusal::UnknownHost(_) => "unknown-host",
        Refusal::UnknownJob(_) => "unknown-job",
        Refusal::Closed => "closed",
        Refusal::Waiting(_) => "waiting",
        Refusal::Suspended { .. } => "suspended",
        Refusal::Forbidden { .. } => "forbidden",
        Refusal::Signer(_) => "signer",
        Refusal::Network { .. } => "network",
        Refusal::HostTaken(_) => "host-taken",
        Refusal::Revoked { .. } => "revoked",
        Refusal::BindingEnded { .. } => "binding-ended",
        Refusal::Field { .. } => "field",
        Refusal::Limit { .. } => "limit",
        Refusal::Manifest(_) => "manifest",
        Refusal::Coordinator(_) => "coordinator",
        Refusal::Policy { .. } => "policy",
        Refusal::Budget { .. } => "budget",
        Refusal::OnceConflict(_) => "idempotency-key",
        Refusal::Price(_) => "price",
        Refusal::Ledger(_) => "ledger",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_by_its_field_and_by_nothing_that_a_host_wrote() {
        for (reason, expected) in [
            ("sequence: 3 is expected, after 00; sign it again", "sequence"),
            ("task 7: bytes_out: 9 is above the lease's limit of 8", "bytes_out"),
            ("task 7: task: 9 is not under its lease", "task"),
            ("leases[12].epoch: the lease is for another epoch than the report", "leases.epoch"),
            ("leases[0]: not signed by 00", "leases"),
            ("receipts[3].lease: its lease token is not in the upload", "receipts.lease"),
            ("report.root: the receipts are not those under the signed root", "report.root"),
            ("report: not signed by 00", "report"),
            ("leases[0].made-up: x", "other"),
            ("made up: x", "other"),
            ("task 7: stopped, but nobody stopped the job", "other"),
            ("", "other"),
        ] {
            assert_eq!(field(reason), expected, "{reason}");
        }
    }

    #[test]
    fn why_there_is_no_work_is_told_in_few_words() {
        for (reason, expected) in [
            ("no job has tasks that wait", Some("no-tasks")),
            ("job ab12: its module is suspended: spam", Some("job-suspended")),
            ("this host is suspended: no free slot", Some("host-suspended")),
            ("job ab12: the owner refuses its module", Some("rules")),
            ("job ab12: its waiting tasks need a host of another owner", Some("other-owner")),
            ("the host asks for nothing", None),
            ("something new", Some("other")),
        ] {
            assert_eq!(wait(reason), expected, "{reason}");
        }
    }
}
