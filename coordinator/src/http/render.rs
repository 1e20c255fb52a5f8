//! Rows as JSON: ids in hexadecimal, 64-bit numbers and credits as strings.

use serde_json::{Value, json};
use tallymill_engine::rows::{AccountRow, HostRow, JobRow, ReplicaRow, TaskRow, TransferRow};
use tallymill_ledger::Amount;
use tallymill_storage::BalanceTotal;

/// A state or kind as its lower-case name.
pub fn name(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

/// An account with its balances and what is held for its jobs.
pub fn account(row: &AccountRow, totals: &[BalanceTotal], reserved: Amount) -> Value {
    let balances: Vec<Value> = totals
        .iter()
        .map(|t| json!({ "issuer": t.issuer.to_string(), "kind": t.kind, "amount": t.amount.micros().to_string() }))
        .collect();
    let of = |kinds: &[&str]| -> String {
        let some = totals.iter().filter(|total| kinds.contains(&total.kind.as_str()));
        some.map(|total| i128::from(total.amount.micros())).sum::<i128>().to_string()
    };
    json!({
        "available": of(&["available", "granted"]), "pending": of(&["pending"]), "reserved": reserved.micros().to_string(),
        "id": row.id.to_string(), "key": row.current_key.to_string(), "status": name(row.status),
        "rotations": row.rotations.to_string(), "granted": row.granted.micros().to_string(),
        "joined": row.joined.0.to_string(), "balances": balances,
    })
}

/// A host.
pub fn host(row: &HostRow) -> Value {
    json!({
        "id": row.id.to_string(), "owner": row.owner.to_string(), "expiry": row.expiry.0.to_string(),
        "revoked": row.revoked_at.map(|at| at.0.to_string()), "seen": row.seen.0.to_string(),
        "sequence": row.reports.to_string(), "last_report": row.last_report.to_string(),
        "settled": row.settled.to_string(), "fuel": row.fuel.to_string(),
        "voided": row.voided.to_string(), "outvoted": row.outvoted.to_string(),
        "abandoned": row.abandoned.to_string(),
    })
}

/// A job.
pub fn job(row: &JobRow) -> Value {
    json!({
        "id": row.id.to_string(), "number": row.number.to_string(), "payer": row.payer.to_string(),
        "submitter": row.submitter.to_string(), "module": row.module.to_string(), "title": row.title,
        "state": name(row.state), "tasks": row.tasks, "final": row.final_tasks,
        "failed": row.failed_tasks, "provisional": row.provisional_tasks,
        "escrow": row.escrow.micros().to_string(), "spent": row.spent.micros().to_string(),
        "fuel": row.fuel.to_string(), "submitted": row.submitted.0.to_string(),
        "finished": row.finished.map(|at| at.0.to_string()), "deadline": row.deadline.0.to_string(),
    })
}

/// A decided task.
pub fn task(row: &TaskRow) -> Value {
    json!({
        "task": row.task.0, "sequence": row.sequence.to_string(), "state": name(row.state),
        "host": row.host.map(|host| host.to_string()), "cause": row.cause,
        "outcome": row.outcome.map(|outcome| outcome.to_string()),
        "fuel": row.fuel.map(|fuel| fuel.to_string()),
        "output": row.output.map(|output| output.to_string()),
        "output_bytes": row.output_bytes.map(|bytes| bytes.to_string()), "at": row.at.0.to_string(),
    })
}

/// A replica without what it answered.
pub fn replica(row: &ReplicaRow) -> Value {
    json!({
        "host": row.host.to_string(), "owner": row.owner.to_string(), "state": name(row.state),
        "amount": row.amount.micros().to_string(), "report": row.report.to_string(),
        "position": row.position, "at": row.at.0.to_string(),
    })
}

/// A transfer.
pub fn transfer(row: &TransferRow) -> Value {
    let transfer = &row.transfer;
    json!({
        "id": row.id.to_string(), "kind": name(transfer.kind), "debit": transfer.debit.to_string(),
        "credit": transfer.credit.to_string(), "job": transfer.job.map(|job| job.to_string()),
        "host": transfer.host.map(|host| host.to_string()), "amount": transfer.amount.micros().to_string(),
        "evidence": transfer.evidence.to_string(), "at": row.at.0.to_string(),
    })
}

/// Standard base64 with padding (RFC 4648 §4).
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0usize, |word, byte| word << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[word >> (18 - 6 * place) & 63];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_has_the_vectors_of_rfc_4648() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in vectors {
            assert_eq!(super::base64(bytes.as_bytes()), text);
        }
    }
}
