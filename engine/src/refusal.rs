//! Why a command is refused: the field, the limit, and what to do next.

use tallymill_ledger::{Amount, LedgerError, PriceError};
use tallymill_protocol::{AccountId, CoordinatorId, HostId, JobId, ManifestError, Micros};

/// Why a command is refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An account that is not here.
    #[error("account {0} is not known here: publish it first")]
    UnknownAccount(AccountId),
    /// A host that is not here.
    #[error("host {0} is not known here: join it first")]
    UnknownHost(HostId),
    /// A job that is not live.
    #[error("job {0} is not live: it is unknown or was finished or stopped before")]
    UnknownJob(JobId),
    /// The network does not take accounts.
    #[error("admission is closed: ask an operator of this network")]
    Closed,
    /// An account that waits for approval.
    #[error("account {0} waits for approval by an operator")]
    Waiting(AccountId),
    /// A suspended account, module, job or host.
    #[error("{what} is suspended: {reason}")]
    Suspended {
        /// What.
        what: String,
        /// The published reason.
        reason: String,
    },
    /// Only some may do this.
    #[error("account {by} may not {action}: only {who} may")]
    Forbidden {
        /// Who asked.
        by: AccountId,
        /// What for.
        action: &'static str,
        /// Who may.
        who: &'static str,
    },
    /// Signed with a key that does not stand for the account.
    #[error("the statement is not signed with the key that stands for account {0}")]
    Signer(AccountId),
    /// Of another network.
    #[error("network: the statement is for '{found}', this is '{expected}'")]
    Network {
        /// This network.
        expected: String,
        /// Its network.
        found: String,
    },
    /// A host that is bound to another owner.
    #[error("host {0} is bound to another owner")]
    HostTaken(HostId),
    /// A withdrawn host.
    #[error("host {host} was withdrawn at {at:?}: make a new host key")]
    Revoked {
        /// Which.
        host: HostId,
        /// When.
        at: Micros,
    },
    /// A binding that has ended.
    #[error("the binding of host {host} ended at {expiry:?}: its owner signs a new one")]
    BindingEnded {
        /// Which.
        host: HostId,
        /// When.
        expiry: Micros,
    },
    /// A statement that is not what it must be.
    #[error("{field}: {rule}")]
    Field {
        /// The field to change.
        field: &'static str,
        /// The rule, with its limit.
        rule: String,
    },
    /// A limit of this coordinator.
    #[error("{what}: at most {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// A rule of the manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A job that names other coordinators.
    #[error("coordinators: this coordinator, {0}, is not among them")]
    Coordinator(CoordinatorId),
    /// A policy that is not offered.
    #[error("policy: {policy} is not offered by this coordinator yet: use `trusted` or `quorum`")]
    Policy {
        /// Its name.
        policy: &'static str,
    },
    /// A budget that covers not even one task.
    #[error("budget: {budget} do not cover one task, which may cost {needed} at its limits")]
    Budget {
        /// The budget or the cap, whichever is less.
        budget: Amount,
        /// The most one decided task may cost.
        needed: Amount,
    },
    /// The same idempotency key with another request.
    #[error("the idempotency key '{0}' was used for another request: choose a new one")]
    OnceConflict(String),
    /// No price.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// The ledger's rules.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A snapshot that contradicts itself: the database is damaged or of another program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A manifest that cannot be read.
    #[error("the manifest of job {job} is damaged: {reason}")]
    Manifest {
        /// Whose.
        job: JobId,
        /// What is wrong.
        reason: String,
    },
    /// Rows of a job that is not there.
    #[error("{what} of job {job}, which is not live")]
    Orphan {
        /// Which rows.
        what: &'static str,
        /// The job.
        job: JobId,
    },
    /// Slot states whose totals are not those of the job.
    #[error("job {job} says {said} decided tasks, its pages {found}")]
    Totals {
        /// Which.
        job: JobId,
        /// By its row.
        said: u32,
        /// By its pages.
        found: u32,
    },
    /// A receipt that cannot be read.
    #[error("a receipt of job {job} is damaged: {reason}")]
    Receipt {
        /// Whose.
        job: JobId,
        /// What is wrong.
        reason: String,
    },
    /// More is reserved than the escrow holds.
    #[error("job {job} has more reserved than its escrow holds: {reason}")]
    Reserved {
        /// Which.
        job: JobId,
        /// How much.
        reason: String,
    },
    /// A host whose owner is not there.
    #[error("host {host} belongs to account {owner}, which is not there")]
    Owner {
        /// Which.
        host: HostId,
        /// Whose.
        owner: AccountId,
    },
    /// A price that does not fit.
    #[error(transparent)]
    Price(#[from] PriceError),
}
