//! Errors of storage: one enum per operation.

/// A row that does not hold what its column must hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("table {table} holds a corrupt {column} in the row {key}")]
pub struct CorruptRow {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: String,
    /// The row's key: numbers and names as they are, bytes in hexadecimal.
    pub key: String,
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened or written, or the server not be reached.
    #[error("open the database {path}")]
    Database {
        /// The file, or the server's address without its password.
        path: String,
        /// What the database says.
        source: sqlx::Error,
    },
    /// A migration failed and was rolled back.
    #[error("apply migration {version}")]
    Migration {
        /// Its number.
        version: i64,
        /// What the database says.
        source: sqlx::Error,
    },
    /// A newer program wrote this database.
    #[error(
        "open a database with schema {found}; this program knows schemas up to {known}: use a newer program"
    )]
    Newer {
        /// Schema of the database.
        found: i64,
        /// Newest schema of this program.
        known: i64,
    },
    /// The database belongs to somebody else.
    #[error("open a database whose {what} is {found}, not {expected}")]
    Foreign {
        /// "network" or "coordinator".
        what: &'static str,
        /// Whose it is.
        found: String,
        /// Who asks.
        expected: String,
    },
    /// The file system or the server cannot give what durability needs.
    #[error("make {path} durable: {setting} is {found}, not {expected}")]
    Durability {
        /// The file, or the server's address.
        path: String,
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Several coordinators were to share a file.
    #[error("share the database {path}: coordinators share one on a PostgreSQL server, not a file")]
    Alone {
        /// The file.
        path: String,
    },
    /// A fact about the database that makes no sense.
    #[error(transparent)]
    Corrupt(#[from] CorruptRow),
}

/// Why a batch was not committed. Nothing of it is stored, but see [`CommitError::Unavailable`].
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Another process took the shards: this one must stop deciding.
    #[error("commit in epoch {epoch}: the shards belong to another owner now")]
    Fenced {
        /// The epoch of this handle.
        epoch: u64,
    },
    /// A batch is missing or came twice.
    #[error("commit batch {found}: the next one is {expected}")]
    Sequence {
        /// The next batch.
        expected: u64,
        /// The batch given.
        found: u64,
    },
    /// The disk, or the size allowed to the database, is used up. The same batch may be tried again once there is space.
    #[error("commit: no space is left for the database")]
    Full,
    /// A row is there already, or breaks a rule of its table.
    #[error("commit: a row of table {table} is there already or breaks a rule: {detail}")]
    Conflict {
        /// The table.
        table: String,
        /// Which rule.
        detail: String,
    },
    /// A replica that should move is not there.
    #[error("commit: {missing} rows of table {table} that should change do not exist")]
    Missing {
        /// The table.
        table: &'static str,
        /// How many.
        missing: u64,
    },
    /// A number above 2⁶³ − 1, which columns do not hold.
    #[error("commit: a number in a row of table {table} exceeds 2^63 - 1")]
    Range {
        /// The table.
        table: &'static str,
    },
    /// The database failed; whether the batch is stored is unknown until a load tells.
    #[error("commit: the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
}

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database failed.
    #[error("read from the database")]
    Database(#[from] sqlx::Error),
    /// A row makes no sense.
    #[error(transparent)]
    Corrupt(#[from] CorruptRow),
}

/// Why a start could not read its state.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Another process took the shards.
    #[error("load in epoch {epoch}: the shards belong to another owner now")]
    Fenced {
        /// The epoch of this handle.
        epoch: u64,
    },
    /// Rows could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<sqlx::Error> for LoadError {
    fn from(error: sqlx::Error) -> Self {
        Self::Read(error.into())
    }
}

impl From<CorruptRow> for LoadError {
    fn from(error: CorruptRow) -> Self {
        Self::Read(error.into())
    }
}
