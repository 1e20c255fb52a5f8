//! What each page shows. The caller fills these after it has decided what the reader may see; the templates only lay out.
//!
//! Ids are in full hexadecimal, the pages shorten them. `next` is the query of the following page, without its `?`.

use askama::Template;
use tallymill_ledger::Amount;
use tallymill_protocol::Micros;

/// States a job list can be filtered by.
pub const JOB_STATES: [&str; 6] =
    ["running", "stopping", "finished", "cancelled", "expired", "suspended"];

/// What surrounds every page.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// Name of the network.
    pub network: String,
    /// Id of the signed-in account.
    pub account: Option<String>,
    /// When the page is rendered; what relative times are relative to.
    pub now: Micros,
}

/// `/`: is the network up, and do its books balance.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "pages/network.html")]
pub struct NetworkPage {
    /// Header.
    pub frame: Frame,
    /// The coordinator's public key.
    pub coordinator: String,
    /// How often the coordinator has started on its database.
    pub epoch: u64,
    /// Who may join: `open`, `approved` or `closed`.
    pub admission: String,
    /// Jobs that run.
    pub jobs_running: u64,
    /// Whether leases are given and commits succeed.
    pub ready: bool,
    /// Hosts heard of within a heartbeat's grace.
    pub hosts_online: u64,
    /// Leases in force.
    pub leases: u64,
    /// The last examination of the ledger since the coordinator started.
    pub books: Option<Books>,
}

/// What an examination of the whole ledger found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Books {
    /// Sum over all balances: zero, unless the books are broken.
    pub sum: Amount,
    /// Broken rules that were found.
    pub offences: u64,
    /// Transfers examined.
    pub transfers: u64,
    /// When.
    pub at: Micros,
}

impl Books {
    /// Whether no rule is broken.
    #[must_use]
    pub fn balance(&self) -> bool {
        self.sum == Amount::ZERO && self.offences == 0
    }
}

/// A job in a list.
#[derive(Debug, Clone, Default)]
pub struct JobRow {
    /// Id.
    pub id: String,
    /// Title its submitter gave.
    pub title: String,
    /// State.
    pub state: String,
    /// Who pays.
    pub payer: String,
    /// When it was submitted.
    pub submitted: Micros,
    /// Its tasks.
    pub tasks: u64,
    /// Those with an outcome.
    pub decided: u64,
    /// Those that failed.
    pub failed: u64,
}

/// What a list of jobs is narrowed to; empty: not narrowed.
#[derive(Debug, Clone, Default)]
pub struct JobsFilter {
    /// One of [`JOB_STATES`].
    pub state: String,
    /// Account id.
    pub payer: String,
}

/// `/jobs`: jobs the reader may see, newest first.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "pages/jobs.html")]
pub struct JobsPage {
    /// Header.
    pub frame: Frame,
    /// One page of jobs.
    pub rows: Vec<JobRow>,
    /// The filter in force.
    pub filter: JobsFilter,
    /// Query of the next page.
    pub next: Option<String>,
}

impl JobsPage {
    /// Whether a filter hides jobs.
    #[must_use]
    pub fn filtered(&self) -> bool {
        !self.filter.state.is_empty() || !self.filter.payer.is_empty()
    }
}

/// The first thing that went wrong in a job.
#[derive(Debug, Clone, Default)]
pub struct JobError {
    /// Task it happened in; none when it concerns the whole job.
    pub task: Option<u64>,
    /// What happened.
    pub what: String,
    /// Why, with numbers.
    pub why: String,
    /// Command that helps.
    pub next: String,
}

/// How many tasks of a job are in which state.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobTotals {
    /// All.
    pub tasks: u64,
    /// Not yet given to a host.
    pub waiting: u64,
    /// With a host, or reported and not agreed on.
    pub working: u64,
    /// Agreed on, and not yet final.
    pub provisional: u64,
    /// Final.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Fuel paid for.
    pub fuel: u64,
}

impl JobTotals {
    /// Tasks with an outcome, final or failed.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.done.saturating_add(self.failed)
    }
}

/// Where a job's credit went.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobCost {
    /// Held at submission.
    pub held: Amount,
    /// Paid to hosts and for audits.
    pub paid: Amount,
    /// Given back to the payer.
    pub returned: Amount,
}

impl JobCost {
    /// Still held.
    #[must_use]
    pub fn remaining(&self) -> Amount {
        let spent = self.paid.micros().saturating_add(self.returned.micros());
        Amount::new(self.held.micros().saturating_sub(spent))
    }
}

/// Why tasks wait.
#[derive(Debug, Clone, Default)]
pub struct Reason {
    /// How many tasks wait for this; 0 when not counted.
    pub tasks: u64,
    /// The reason in a sentence, with numbers.
    pub text: String,
}

/// A task in a job.
#[derive(Debug, Clone, Default)]
pub struct TaskRow {
    /// Index in the job.
    pub index: u64,
    /// State.
    pub state: String,
    /// Fuel of its result.
    pub fuel: u64,
    /// Why it waits, or why it failed; empty when there is nothing to say.
    pub reason: String,
    /// Whether its outcome is decided.
    pub decided: bool,
    /// Digest of its output.
    pub output: Option<String>,
}

impl TaskRow {
    /// The output's digest once the task is decided. Before that it stays hidden even when it was filled in:
    /// who sees one replica's answer could copy it.
    #[must_use]
    pub fn revealed(&self) -> Option<&str> {
        self.output.as_deref().filter(|_| self.decided)
    }
}

/// `/jobs/{id}`: errors first, then progress, cost, why tasks wait, and the tasks.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "pages/job.html")]
pub struct JobPage {
    /// Header.
    pub frame: Frame,
    /// Id.
    pub id: String,
    /// Title its submitter gave.
    pub title: String,
    /// State.
    pub state: String,
    /// Who pays.
    pub payer: String,
    /// When it was submitted.
    pub submitted: Micros,
    /// The first error.
    pub error: Option<JobError>,
    /// Tasks by state.
    pub totals: JobTotals,
    /// Credit held, paid and returned.
    pub cost: JobCost,
    /// How results are checked: `trusted`, `quorum 2`.
    pub policy: String,
    /// Why tasks wait, most tasks first.
    pub reasons: Vec<Reason>,
    /// One page of decided tasks; none when the reader may not see them.
    pub tasks: Option<Vec<TaskRow>>,
    /// Query of the next page of tasks.
    pub next: Option<String>,
    /// What becomes of its results; none while it is not over.
    pub kept: Option<ResultsKept>,
}

/// What becomes of the results of a job that is over.
#[derive(Debug, Clone, Copy)]
pub enum ResultsKept {
    /// They are gone since then.
    Gone(Micros),
    /// Somebody keeps them.
    Held,
    /// They may be collected from then on.
    Until(Micros),
    /// They are kept as long as the coordinator.
    Forever,
}

/// One attempt at a task.
#[derive(Debug, Clone, Default)]
pub struct AttemptRow {
    /// Id.
    pub id: String,
    /// Host that made it.
    pub host: String,
    /// State.
    pub state: String,
    /// Fuel it reported; shown once the task is decided.
    pub fuel: u64,
    /// Digest of the output it reported; shown once the task is decided.
    pub output: Option<String>,
    /// The verdict on it, and why.
    pub verdict: String,
}

/// `/jobs/{id}/tasks/{n}`: each attempt with its verdict, and the way to the receipts.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "pages/task.html")]
pub struct TaskPage {
    /// Header.
    pub frame: Frame,
    /// Id of the job.
    pub job: String,
    /// Title of the job.
    pub title: String,
    /// The task.
    pub task: TaskRow,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptRow>,
}

/// A line of an account's statement.
#[derive(Debug, Clone, Default)]
pub struct StatementLine {
    /// Number of the transfer.
    pub transfer: u64,
    /// When it was made.
    pub at: Micros,
    /// What it was: `grant`, `hold`, `earn`.
    pub kind: String,
    /// Where it counts: `available`, `pending`, `reserved`.
    pub bucket: String,
    /// Amount; negative when it left.
    pub amount: Amount,
    /// Job it belongs to.
    pub job: Option<String>,
    /// Root over the receipts that it settles, or digest of the statement that asked for it.
    pub evidence: String,
}

/// `/accounts/{id}`: credit, and every transfer down to the receipts.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "pages/account.html")]
pub struct AccountPage {
    /// Header.
    pub frame: Frame,
    /// Id.
    pub id: String,
    /// State: `active`, `waiting` or `suspended`.
    pub state: String,
    /// Credit to spend.
    pub available: Amount,
    /// Earned, not yet to spend.
    pub pending: Amount,
    /// Held for its jobs.
    pub reserved: Amount,
    /// One page of the statement, oldest first.
    pub lines: Vec<StatementLine>,
    /// Query of the next page.
    pub next: Option<String>,
}

/// A page for what went wrong.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "pages/error.html")]
pub struct ErrorPage {
    /// Header.
    pub frame: Frame,
    /// HTTP status.
    pub status: u16,
    /// What happened.
    pub title: String,
    /// Why.
    pub detail: String,
    /// What to do next; empty when nothing helps.
    pub next: String,
}

/// How to sign in: a link that a command prints.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "pages/signin.html")]
pub struct SignInPage {
    /// Header.
    pub frame: Frame,
    /// Address of this coordinator, for the command's `--url`.
    pub url: String,
    /// Why signing in is needed; empty when the reader asked for it.
    pub reason: String,
}
