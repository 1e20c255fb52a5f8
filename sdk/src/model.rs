//! What the coordinator's JSON says, as types. Unsigned 64-bit numbers and credits travel as decimal strings.

use serde::{Deserialize, Serialize};

/// Reads and writes a `u64` or `i64` as a decimal string.
pub mod decimal {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Writes the number as text.
    ///
    /// # Errors
    /// When the serializer fails.
    pub fn serialize<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    /// Reads the number from text.
    ///
    /// # Errors
    /// When the text is not a number in range.
    pub fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An RFC 9457 problem document: what happened, which field and limit, what to do next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// A stable name of the kind of problem.
    pub r#type: String,
    /// The kind in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This case in words.
    pub detail: String,
    /// The field to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The limit it breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.detail.is_empty() { &self.title } else { &self.detail })?;
        if let Some(field) = &self.field {
            write!(f, " (field {field})")?;
        }
        self.next.iter().try_for_each(|next| write!(f, "; {next}"))
    }
}

/// Meter, cost table and profile of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionsView {
    /// Meter version.
    pub meter: u32,
    /// Digest of the cost table, hex.
    pub costs: String,
    /// Profile version.
    pub profile: u32,
}

/// What a coordinator says of itself to everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    /// The network's name.
    pub network: String,
    /// The coordinator's key, hex.
    pub coordinator: String,
    /// Meter, cost table and profile.
    pub versions: VersionsView,
}

/// A job's totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// The job, hex.
    pub id: String,
    /// Position in the order of submission.
    #[serde(with = "decimal")]
    pub number: u64,
    /// For people.
    pub title: String,
    /// running, stopping, finished, cancelled, expired or suspended.
    pub state: String,
    /// Number of tasks.
    pub tasks: u32,
    /// Decided with exit code 0.
    #[serde(rename = "final")]
    pub final_tasks: u32,
    /// Decided otherwise.
    #[serde(rename = "failed")]
    pub failed_tasks: u32,
    /// Decided, pay held back.
    #[serde(rename = "provisional")]
    pub provisional_tasks: u32,
    /// Credit held at submission, micro-credits.
    #[serde(with = "decimal")]
    pub escrow: i64,
    /// Credit paid so far, micro-credits.
    #[serde(with = "decimal")]
    pub spent: i64,
    /// Fuel of decided tasks.
    #[serde(with = "decimal")]
    pub fuel: u64,
    /// Whether somebody keeps its results whatever their time.
    #[serde(default)]
    pub held: bool,
    /// When its results may be collected, µs since 1970, as decimal text; absent while it is not over, and where they are kept
    /// or gone.
    #[serde(default)]
    pub collects: Option<String>,
    /// Since when its results are gone, µs since 1970, as decimal text.
    #[serde(default)]
    pub collected: Option<String>,
}

impl JobView {
    /// Whether nothing more will happen to it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        is_over(&self.state)
    }

    /// Tasks decided so far.
    #[must_use]
    pub const fn decided(&self) -> u32 {
        self.final_tasks + self.failed_tasks + self.provisional_tasks
    }
}

/// One page of a list; `next` continues it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to pass as `after`; absent on the last page.
    pub next: Option<String>,
}

/// Results of a job, and the state that it was in before they were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultsPage {
    /// The results.
    pub items: Vec<ResultView>,
    /// running, stopping, finished, cancelled, expired or suspended.
    pub state: String,
}

impl ResultsPage {
    /// Whether nothing will be decided after these.
    #[must_use]
    pub fn is_over(&self) -> bool {
        is_over(&self.state)
    }
}

fn is_over(state: &str) -> bool {
    !matches!(state, "running" | "stopping")
}

/// A statement about an account's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatementView {
    /// account, rotation, host-binding or revocation.
    pub kind: String,
}

/// A decided task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultView {
    /// Position in the order of decisions.
    #[serde(with = "decimal")]
    pub sequence: u64,
    /// The task.
    pub task: u32,
    /// provisional, final or failed.
    pub state: String,
    /// Why it failed.
    pub cause: Option<String>,
    /// Fuel of the result.
    pub fuel: Option<String>,
    /// Digest of the output, hex.
    pub output: Option<String>,
    /// The output, base64, where small.
    #[serde(rename = "inline", default)]
    pub output_inline: Option<String>,
}

/// An account's credit, micro-credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// The account, hex.
    pub id: String,
    /// active, waiting or suspended.
    pub status: String,
    /// Key rotations so far.
    #[serde(with = "decimal", default)]
    pub rotations: u64,
    /// Spendable.
    #[serde(with = "decimal")]
    pub available: i64,
    /// Earned, not yet spendable.
    #[serde(with = "decimal")]
    pub pending: i64,
    /// Held for jobs.
    #[serde(with = "decimal")]
    pub reserved: i64,
}

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferView {
    /// Position.
    #[serde(with = "decimal")]
    pub id: u64,
    /// grant, hold, earn, post, release, …
    pub kind: String,
    /// The ledger account debited.
    pub debit: String,
    /// The ledger account credited.
    pub credit: String,
    /// Micro-credits.
    #[serde(with = "decimal")]
    pub amount: i64,
    /// The job it is about, hex.
    pub job: Option<String>,
    /// The host it is about, hex.
    pub host: Option<String>,
    /// When, microseconds since 1970.
    #[serde(with = "decimal")]
    pub at: u64,
}
