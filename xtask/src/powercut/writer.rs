//! The process whose power is cut: commits, and says after each that it is durable.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tallymill_engine::rows::{AdminRow, Batch, Identity};
use tallymill_protocol::{AccountId, CoordinatorId, Micros, Network};
use tallymill_storage::{Commits as _, SqliteStore};

/// The database's file.
pub(super) const DATABASE: &str = "tallymill.db";
/// Rows of the largest commit; sizes vary, so that commits take one page of the log or several.
const MOST_ROWS: u32 = 40;
/// Bytes of text in a row.
const TEXT: usize = 400;

/// How commits are synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// By the coordinator's store.
    Full,
    /// As SQLite does by default in this journal mode: only when the log is moved into the database.
    Normal,
}

impl Mode {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

/// Options of the writer, which `powercut` starts by itself.
#[derive(clap::Args)]
pub(crate) struct Writer {
    /// Where the database is made.
    folder: PathBuf,
    /// How commits are synced.
    #[arg(long)]
    mode: Mode,
    /// How many.
    #[arg(long)]
    commits: u32,
}

pub(super) fn identity() -> anyhow::Result<Identity> {
    let network = Network::new("powercut").ok_or_else(|| anyhow::anyhow!("no network's name"))?;
    Ok(Identity { network, coordinator: CoordinatorId([1; 32]) })
}

impl Writer {
    /// Commits.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        // One thread besides that of the connection, so that the record is in order.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let file = self.folder.join(DATABASE);
        match self.mode {
            Mode::Full => runtime.block_on(full(&file, self.commits)),
            Mode::Normal => runtime.block_on(normal(&file, self.commits)),
        }
    }
}

async fn full(file: &Path, commits: u32) -> anyhow::Result<()> {
    let store = SqliteStore::open(file, &identity()?).await?;
    let (first, mut id) = (store.load().await?.sequence, 0);
    for number in 1..=commits {
        let mut batch = Batch { sequence: first + u64::from(number), ..Batch::default() };
        batch.now = Micros(u64::from(number));
        for _ in 0..rows(number) {
            id += 1;
            batch.admin.push(row(id));
        }
        store.commit(&batch).await?;
        tell(batch.sequence)?;
    }
    // The machine stops here; nothing is closed.
    std::process::exit(0)
}

/// The same commits by SQLite alone.
async fn normal(file: &Path, commits: u32) -> anyhow::Result<()> {
    let store = SqliteStore::open(file, &identity()?).await?;
    let (first, mut id) = (store.load().await?.sequence, 0);
    store.close().await;
    let options = SqliteConnectOptions::new().filename(file);
    let options = options.journal_mode(SqliteJournalMode::Wal);
    let mut connection = options.synchronous(SqliteSynchronous::Normal).connect().await?;
    for number in 1..=commits {
        let sequence = first + u64::from(number);
        let mut commit = connection.begin().await?;
        let statement = include_str!("../../sql/powercut_sequence.sql");
        let value = sequence.to_be_bytes();
        sqlx::query(statement).bind(value.as_slice()).execute(&mut *commit).await?;
        for _ in 0..rows(number) {
            id += 1;
            let AdminRow { actor, action, subject, reason, at, .. } = row(id);
            let statement = include_str!("../../sql/powercut_entry.sql");
            let query = sqlx::query(statement).bind(i64::try_from(id)?).bind(&actor.0[..]);
            let query = query.bind(action).bind(subject).bind(reason).bind(i64::try_from(at.0)?);
            query.execute(&mut *commit).await?;
        }
        commit.commit().await?;
        tell(sequence)?;
    }
    std::process::exit(0)
}

/// Rows of a commit.
const fn rows(number: u32) -> u32 {
    number * 7 % MOST_ROWS + 1
}

fn row(id: u64) -> AdminRow {
    AdminRow {
        id,
        actor: AccountId([2; 32]),
        action: "grant",
        subject: id.to_string(),
        reason: "x".repeat(TEXT),
        at: Micros(id),
    }
}

/// Says that a commit is durable, in one system call.
fn tell(commit: u64) -> std::io::Result<()> {
    std::io::stdout().lock().write_all(format!("told {commit}\n").as_bytes())
}
