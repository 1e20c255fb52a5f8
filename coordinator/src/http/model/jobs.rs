//! Jobs, tasks, results.

use serde::Serialize;
use tallymill_engine::rows::{self, HoldRow, JobRow, ReplicaRow, TaskRow, VoidRow};
use tallymill_engine::{JobView, Kept, Retention};
use tallymill_protocol::{Message as _, Micros, Receipt};
use tallymill_storage::Decided;
use utoipa::ToSchema;

use super::names::{FaultName, HoldName, JobState, ReplicaState, TaskState};
use super::values::base64;
use super::{Decimal, Id};

/// The most a job can cost.
#[derive(Debug, Serialize, ToSchema)]
pub struct Quote {
    /// Price cap of the whole job.
    pub cap: Decimal,
    /// The most one task costs.
    pub per_task: Decimal,
    /// What might keep it from running.
    pub warnings: Vec<String>,
}

/// A job that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct Submitted {
    /// Its id: the digest of the manifest's payload.
    pub id: Id,
    /// Position in the order of submission.
    pub number: Decimal,
    /// Credit held for it.
    pub escrow: Decimal,
    /// Its price cap.
    pub cap: Decimal,
    /// What keeps it waiting as things stand: too few owners online that may run it.
    pub warnings: Vec<String>,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub struct Job {
    /// Its id.
    pub id: Id,
    /// Position in the order of submission.
    pub number: Decimal,
    /// Who pays.
    pub payer: Id,
    /// Who signed it.
    pub submitter: Id,
    /// Digest of its module.
    pub module: Id,
    /// For people; empty when the job is private and the caller not its payer.
    pub title: String,
    /// How it stands.
    pub state: JobState,
    /// Number of tasks.
    pub tasks: u32,
    /// Tasks that are final.
    pub r#final: u32,
    /// Tasks that failed.
    pub failed: u32,
    /// Tasks decided whose pay is held back.
    pub provisional: u32,
    /// Credit held at submission.
    pub escrow: Decimal,
    /// Credit paid so far.
    pub spent: Decimal,
    /// Fuel of decided tasks.
    pub fuel: Decimal,
    /// When it was submitted.
    pub submitted: Decimal,
    /// When it was over.
    pub finished: Option<Decimal>,
    /// When it ends at the latest.
    pub deadline: Decimal,
    /// Whether somebody keeps its results whatever their time.
    pub held: bool,
    /// When its results may be collected, as things stand; null while it is not over, and where they are kept or gone.
    pub collects: Option<Decimal>,
    /// Since when its results are gone.
    pub collected: Option<Decimal>,
}

/// Who keeps the results of a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct Holds {
    /// One for each in whose name they are kept.
    pub items: Vec<Hold>,
}

/// A hold: while a job has one, nothing of its results is collected.
#[derive(Debug, Serialize, ToSchema)]
pub struct Hold {
    /// In whose name.
    pub kind: HoldName,
    /// Who asked.
    pub account: Id,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Decimal,
}

impl From<&HoldRow> for Hold {
    fn from(row: &HoldRow) -> Self {
        let account = Id::of(&row.account);
        Self { kind: row.kind.into(), account, reason: row.reason.clone(), at: row.at.into() }
    }
}

/// When the results of a job may be collected, as things stand.
pub fn collects(row: &JobRow, rule: &Retention) -> Option<Micros> {
    // What may go now is only a question of the chore's turn: its time has come.
    match rule.keeps(row, 0, Micros(0)) {
        Some(Kept::Until(at)) => Some(at),
        _ => None,
    }
}

impl Job {
    /// A job with its title, or without, of a coordinator that keeps results by this rule.
    pub fn of(row: &JobRow, titled: bool, rule: &Retention) -> Self {
        Self {
            id: Id::of(&row.id),
            number: row.number.into(),
            payer: Id::of(&row.payer),
            submitter: Id::of(&row.submitter),
            module: Id::of(&row.module),
            title: if titled { row.title.clone() } else { String::new() },
            state: row.state.into(),
            tasks: row.tasks,
            r#final: row.final_tasks,
            failed: row.failed_tasks,
            provisional: row.provisional_tasks,
            escrow: row.escrow.into(),
            spent: row.spent.into(),
            fuel: row.fuel.into(),
            submitted: row.submitted.into(),
            finished: row.finished.map(Decimal::from),
            deadline: row.deadline.into(),
            held: row.held,
            collects: collects(row, rule).map(Decimal::from),
            collected: row.collecting.map(Decimal::from),
        }
    }
}

/// Why tasks of a job wait. The numbers are absent when the job is over.
#[derive(Debug, Serialize, ToSchema)]
pub struct Why {
    /// How the job stands.
    pub state: JobState,
    /// The reasons, most important first; none when nothing waits.
    pub reasons: Vec<String>,
    /// Tasks with a lease in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub leased: Option<usize>,
    /// Tasks that never had a lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub untouched: Option<u32>,
    /// Tasks that wait for another host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub waiting: Option<usize>,
    /// Tasks with results that wait for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub undecided: Option<usize>,
    /// Credit that running and undecided results may still cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reserved: Option<Decimal>,
}

impl From<JobView> for Why {
    fn from(view: JobView) -> Self {
        Self {
            state: view.state.into(),
            reasons: view.why,
            leased: Some(view.leased),
            untouched: Some(view.untouched),
            waiting: Some(view.waiting),
            undecided: Some(view.undecided),
            reserved: Some(view.reserved.into()),
        }
    }
}

impl Why {
    /// A job that is over.
    pub fn over(state: rows::JobState) -> Self {
        Self {
            state: state.into(),
            reasons: Vec::new(),
            leased: None,
            untouched: None,
            waiting: None,
            undecided: None,
            reserved: None,
        }
    }
}

/// A decided task.
#[derive(Debug, Serialize, ToSchema)]
pub struct Task {
    /// Its index.
    pub task: u32,
    /// Position in the order of decisions.
    pub sequence: Decimal,
    /// How it was decided.
    pub state: TaskState,
    /// The host whose result stands.
    pub host: Option<Id>,
    /// Why it failed.
    pub cause: Option<String>,
    /// How the run ended.
    pub outcome: Option<String>,
    /// Fuel of the result.
    pub fuel: Option<Decimal>,
    /// Digest of the output.
    pub output: Option<Id>,
    /// Length of the output.
    pub output_bytes: Option<Decimal>,
    /// When it was decided.
    pub at: Decimal,
    /// In results alone: the output in base64, where it is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub inline: Option<String>,
}

impl From<&TaskRow> for Task {
    fn from(row: &TaskRow) -> Self {
        Self {
            task: row.task.0,
            sequence: row.sequence.into(),
            state: row.state.into(),
            host: row.host.as_ref().map(Id::of),
            cause: row.cause.clone(),
            outcome: row.outcome.map(|outcome| outcome.to_string()),
            fuel: row.fuel.map(Decimal::from),
            output: row.output.as_ref().map(Id::of),
            output_bytes: row.output_bytes.map(Decimal::from),
            at: row.at.into(),
            inline: None,
        }
    }
}

impl From<&Decided> for Task {
    fn from(decided: &Decided) -> Self {
        Self { inline: decided.output.as_deref().map(base64), ..Self::from(&decided.task) }
    }
}

/// Results in the order of their decisions.
#[derive(Debug, Serialize, ToSchema)]
pub struct Results {
    /// The decided tasks.
    pub items: Vec<Task>,
    /// What to pass as `after` for what follows; null when there is nothing.
    pub next: Option<String>,
    /// How the job stands.
    pub state: JobState,
}

/// What one host reported of a task.
#[derive(Debug, Serialize, ToSchema)]
pub struct Replica {
    /// The host.
    pub host: Id,
    /// Who is paid.
    pub owner: Id,
    /// How it stands.
    pub state: ReplicaState,
    /// What it earns.
    pub amount: Decimal,
    /// Root of the report that holds its receipt.
    pub report: Id,
    /// Its position there.
    pub position: u32,
    /// When it was reported.
    pub at: Decimal,
    /// Whether a host of the same network neighbourhood was at the task already: none of another came in time.
    pub relaxed: bool,
    /// Digest of what it wrote to standard error, once the task is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub log: Option<Id>,
    /// What it wrote to standard error in base64, once the task is decided and where it is small; else read its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub log_inline: Option<String>,
}

impl Replica {
    /// A replica; what it wrote only once the task is decided.
    pub fn of(row: &ReplicaRow, decided: bool) -> Self {
        let receipt = Receipt::from_bytes(&row.receipt).ok().filter(|_| decided);
        Self {
            host: Id::of(&row.host),
            owner: Id::of(&row.owner),
            state: row.state.into(),
            amount: row.amount.into(),
            report: Id::of(&row.report),
            position: row.position,
            at: row.at.into(),
            relaxed: row.relaxed,
            log: receipt.map(|receipt| Id::of(&receipt.log)),
            log_inline: row.log.as_deref().filter(|_| decided).map(base64),
        }
    }
}

/// A host had the task and gave no result of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct VoidRun {
    /// The host.
    pub host: Id,
    /// Whether its run was void, its owner's rules did not allow the task, its lease lapsed or its receipt was refused.
    pub fault: FaultName,
    /// Code of a void run's cause, as in the worker's protocol.
    pub cause: u8,
    /// More, for people.
    pub detail: String,
    /// When.
    pub at: Decimal,
}

impl From<&VoidRow> for VoidRun {
    fn from(row: &VoidRow) -> Self {
        let detail = row.detail.clone();
        let (host, fault, cause) = (Id::of(&row.host), row.fault.into(), row.cause);
        Self { host, fault, cause, detail, at: row.at.into() }
    }
}

/// A task with everything that hosts reported of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskDetail {
    /// The decision; null while the task is open.
    pub decided: Option<Task>,
    /// What hosts reported.
    pub replicas: Vec<Replica>,
    /// Hosts that gave no result of it; at most 100.
    pub voids: Vec<VoidRun>,
}

/// Evidence of a result, as `tallymill verify` reads it. Signed messages are the base64 of their encoding.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the audit crate, which knows no HTTP, writes what this describes")]
pub struct Evidence {
    /// `tallymill-evidence`.
    kind: String,
    /// Version of the file.
    version: u32,
    /// The job, signed by its submitter.
    manifest: String,
    /// The lease, signed by the coordinator.
    lease: String,
    /// The report, signed by the host.
    report: String,
    /// The receipt as it stands under the report's root.
    receipt: String,
    /// Its position in the report.
    position: u32,
    /// Its range proof.
    proof: Vec<Id>,
    /// For table jobs: the task's entry with its proof.
    entry: Option<TableProof>,
    /// For a segment of a long task: the snapshot it began from.
    snapshot: Option<Id>,
    /// Where a later key than the submitter's first signed the manifest: how it came to be the account's.
    keys: Option<KeyChain>,
}

/// The statements that lead from an account's first key to a later one, each in base64.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the audit crate, which knows no HTTP, writes what this describes")]
struct KeyChain {
    /// The account's own statement, which names its first recovery key.
    account: Option<String>,
    /// Its rotations, the first one first.
    rotations: Vec<String>,
}

/// An entry of an input table and its way to the table's root.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the audit crate, which knows no HTTP, writes what this describes")]
struct TableProof {
    /// The 48 bytes of the entry in base64.
    entry: String,
    /// Its range proof.
    proof: Vec<Id>,
}

#[cfg(test)]
mod tests {
    use tallymill_ledger::Amount;
    use tallymill_protocol::{AccountId, AttemptId, Digest, HostId, JobId, LeaseDigest};
    use tallymill_protocol::{Micros, TaskIndex};

    use super::*;

    /// A result that waits, of a host in 203.0.113.0/24.
    fn neighbour() -> ReplicaRow {
        ReplicaRow {
            job: JobId([1; 32]),
            task: TaskIndex(0),
            segment: 0,
            host: HostId([2; 32]),
            owner: AccountId([3; 32]),
            attempt: AttemptId([4; 16]),
            state: rows::ReplicaState::Reported,
            report: Digest([5; 32]),
            position: 0,
            receipt: Vec::new(),
            lease: LeaseDigest([6; 32]),
            output: None,
            log: None,
            amount: Amount::new(7),
            final_after: None,
            at: Micros(8),
            near: Some([4, 203, 0, 113, 0, 0, 0, 0]),
            relaxed: true,
        }
    }

    #[test]
    fn a_replica_says_that_it_was_relaxed_but_not_where_its_host_is() {
        let shown = serde_json::to_value(Replica::of(&neighbour(), false)).unwrap();
        assert_eq!(shown["relaxed"], true);
        let named: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        let public = ["amount", "at", "host", "owner", "position", "relaxed", "report", "state"];
        assert_eq!(named, public);
        let other = ReplicaRow { relaxed: false, ..neighbour() };
        let shown = serde_json::to_value(Replica::of(&other, false)).unwrap();
        assert_eq!(shown["relaxed"], false);
    }
}
