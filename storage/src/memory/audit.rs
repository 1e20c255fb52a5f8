//! The examination of the ledger in memory: the same rules as `sql/audit`.

use std::collections::BTreeMap;

use tallymill_engine::rows::{BalanceRow, JobRow, JobState, ReplicaState, TransferRow};
use tallymill_ledger::{AccountKind, Amount, GrantPolicy, LedgerAccountId, Transfer, TransferKind};
use tallymill_protocol::{AccountId, CoordinatorId, Digest, JobId};

use super::tables::Tables;
use crate::{LedgerAudit, Offence, Rule};

/// Examines every rule.
pub(super) fn audit(tables: &Tables, policy: &GrantPolicy) -> LedgerAudit {
    let mut sums = BTreeMap::<CoordinatorId, i64>::new();
    for row in tables.balances.values() {
        *sums.entry(row.account.issuer).or_default() += row.amount.micros();
    }
    let unequal = sums.iter().filter(|(_, sum)| **sum != 0).map(|(issuer, sum)| Offence {
        rule: Rule::SumIsZero,
        subject: issuer.to_string(),
        found: *sum,
        expected: 0,
    });
    let mut offences: Vec<_> = unequal.collect();
    let floor = |row: &BalanceRow| row.account.kind.floor().is_some_and(|floor| row.amount < floor);
    offences.extend(audit_amounts(tables, Rule::Floor, floor));
    offences.extend(audit_balances(tables));
    offences.extend(audit_escrows(tables));
    offences.extend(audit_amounts(tables, Rule::ClosedIsEmpty, |row| is_left(tables, row)));
    offences.extend(audit_grants(tables, policy));
    offences.extend(audit_twice(tables));
    offences.extend(audit_payers(tables));
    LedgerAudit {
        transfers: tables.transfers.len() as u64,
        balances: tables.balances.len() as u64,
        sums: sums.into_iter().collect(),
        offences,
    }
}

/// Balances for which `breaks` holds; they should be zero.
fn audit_amounts(
    tables: &Tables,
    rule: Rule,
    breaks: impl Fn(&BalanceRow) -> bool,
) -> Vec<Offence> {
    let rows = tables.balances.iter().filter(|(_, row)| breaks(row));
    let offence = |(id, row): (&LedgerAccountId, &BalanceRow)| Offence {
        rule,
        subject: Digest(id.0).to_string(),
        found: row.amount.micros(),
        expected: 0,
    };
    rows.map(offence).take(100).collect()
}

/// Whether credit is left in a job that is over.
fn is_left(tables: &Tables, row: &BalanceRow) -> bool {
    let (AccountKind::Escrow { job } | AccountKind::Pending { job, .. }) = row.account.kind else {
        return false;
    };
    row.amount != Amount::ZERO
        && tables.jobs.get(&job).is_some_and(|job| !is_live(job) && job.provisional_tasks == 0)
}

fn is_live(job: &JobRow) -> bool {
    [JobState::Running, JobState::Stopping].contains(&job.state)
}

fn audit_balances(tables: &Tables) -> Vec<Offence> {
    let mut expected: BTreeMap<_, i64> = tables.balances.keys().map(|id| (*id, 0)).collect();
    for row in tables.transfers.values() {
        let amount = row.transfer.amount.micros();
        *expected.entry(row.transfer.credit.id()).or_default() += amount;
        *expected.entry(row.transfer.debit.id()).or_default() -= amount;
    }
    let found = |id: &LedgerAccountId| tables.balances.get(id).map_or(0, |row| row.amount.micros());
    let wrong = expected.iter().filter(|(id, expected)| found(id) != **expected);
    let offence = |(id, expected): (&LedgerAccountId, &i64)| Offence {
        rule: Rule::BalanceIsTransfers,
        subject: Digest(id.0).to_string(),
        found: found(id),
        expected: *expected,
    };
    wrong.map(offence).take(100).collect()
}

fn audit_twice(tables: &Tables) -> Vec<Offence> {
    let mut times = BTreeMap::<_, i64>::new();
    for TransferRow { transfer, .. } in tables.transfers.values() {
        let class = match transfer.kind {
            TransferKind::Void => TransferKind::Post,
            kind @ (TransferKind::Earn | TransferKind::Post | TransferKind::Surcharge) => kind,
            _ => continue,
        };
        *times.entry((transfer.evidence, class, transfer.job, transfer.host)).or_default() += 1;
    }
    let twice = times.into_iter().filter(|(_, times)| *times > 1);
    let offence = |((evidence, ..), found): ((Digest, _, _, _), i64)| Offence {
        rule: Rule::PaidOnce,
        subject: evidence.to_string(),
        found,
        expected: 1,
    };
    twice.map(offence).take(100).collect()
}

fn audit_escrows(tables: &Tables) -> Vec<Offence> {
    let mut reserved = BTreeMap::<JobId, i64>::new();
    let waits = tables.replicas.values().filter(|row| row.state == ReplicaState::Reported);
    for row in waits.filter(|row| tables.jobs.get(&row.job).is_some_and(is_live)) {
        *reserved.entry(row.job).or_default() += row.amount.micros();
    }
    let mut offences = Vec::new();
    for (job, expected) in reserved {
        let escrow = |row: &&BalanceRow| row.account.kind == AccountKind::Escrow { job };
        let held = tables.balances.values().find(escrow);
        let found = held.map_or(0, |row| row.amount.micros());
        if found < expected {
            let subject = Digest(held.map_or(job.0, |row| row.account.id().0)).to_string();
            offences.push(Offence { rule: Rule::EscrowCoversReserved, subject, found, expected });
        }
    }
    offences.sort_by(|left, right| left.subject.cmp(&right.subject));
    offences.truncate(100);
    offences
}

fn audit_grants(tables: &Tables, policy: &GrantPolicy) -> Vec<Offence> {
    let mut granted = BTreeMap::<(Digest, CoordinatorId, bool), i64>::new();
    for TransferRow { transfer, .. } in tables.transfers.values() {
        let AccountKind::Granted { .. } = transfer.credit.kind else { continue };
        if transfer.kind == TransferKind::Grant {
            let (account, issuer) = (Digest(transfer.credit.id().0), transfer.issuer);
            for key in [(account, issuer, false), (Digest(issuer.0), issuer, true)] {
                *granted.entry(key).or_default() += transfer.amount.micros();
            }
        }
    }
    let most = |issuer: CoordinatorId, all: bool| match (issuer == policy.issuer, all) {
        (false, _) => 0,
        (true, false) => policy.per_account.micros(),
        (true, true) => policy.total.micros(),
    };
    let offence = |((subject, issuer, all), found): ((Digest, _, _), i64)| {
        let (subject, expected) = (subject.to_string(), most(issuer, all));
        Offence { rule: Rule::GrantsWithinLimits, subject, found, expected }
    };
    let offences = granted.into_iter().map(offence).filter(|one| one.found > one.expected);
    offences.take(100).collect()
}

fn audit_payers(tables: &Tables) -> Vec<Offence> {
    let mut moved = BTreeMap::<JobId, i64>::new();
    for TransferRow { transfer, .. } in tables.transfers.values() {
        let Some(job) = transfer.job else { continue };
        let payer = tables.jobs.get(&job).map(|row| row.payer);
        if !payer.is_some_and(|payer| follows(transfer, payer)) {
            *moved.entry(job).or_default() += transfer.amount.micros();
        }
    }
    let offence = |(job, found): (JobId, i64)| {
        let (rule, subject) = (Rule::PayFollowsPayer, job.to_string());
        Offence { rule, subject, found, expected: 0 }
    };
    moved.into_iter().map(offence).take(100).collect()
}

/// Whether a job's transfer is between its payer's accounts and the job's, or pays somebody else in earned credit.
fn follows(transfer: &Transfer, payer: AccountId) -> bool {
    let issuers = [transfer.debit.issuer, transfer.credit.issuer];
    let from = match transfer.debit.kind {
        AccountKind::Granted { owner } | AccountKind::Available { owner } => owner == payer,
        _ => true,
    };
    let posts = transfer.kind == TransferKind::Post;
    let to = match transfer.credit.kind {
        AccountKind::Granted { owner } => owner == payer,
        AccountKind::Available { owner } => (owner == payer) != posts,
        _ => true,
    };
    from && to && issuers == [transfer.issuer; 2]
}
