//! Rows as a database holds them, and how they become the engine's rows: everything is checked, nothing is assumed.

mod cell;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};
use tallymill_engine::rows::{
    AccountRow, AdminRow, BalanceRow, BlobRow, Counters, HoldRow, HostRow, JobRow, KeyRow,
    LeaseRow, OnceRow, PAGE_BYTES, PageRow, SegmentRow, SuspensionRow, TaskRow, TransferRow,
    VoidRow,
};
use tallymill_ledger::{AccountKey, AccountKind, Amount, Transfer};
use tallymill_protocol::{HostId, JobId, Outcome};

use crate::{CorruptRow, Decided};
use cell::{Cell, Shown};

/// A row's columns as they come from any database.
pub trait Record:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Sync + 'static
{
    /// The table, for errors.
    const TABLE: &'static str;
}

/// Columns that are read as they are: an error names no table.
macro_rules! plain {
    ($($columns:ty),* $(,)?) => {$(
        impl Record for $columns {
            const TABLE: &'static str = "";
        }
    )*};
}
plain!(
    (i64,),
    (i64, i64),
    (String,),
    (String, i64, i64),
    (Vec<u8>,),
    (i64, Vec<u8>),
    (Vec<u8>, Vec<u8>),
    (Vec<u8>, i64),
    (Vec<u8>, i64, i64),
    (Vec<u8>, String, i64)
);

/// Reads one column of a record.
macro_rules! column {
    ($record:ident, $table:literal, [$($key:ident),+], $field:ident, $name:expr) => {
        Cell::value(&$record.$field).ok_or_else(|| CorruptRow {
            table: $table,
            column: $name.to_owned(),
            key: [$($record.$key.shown()),+].join(" "),
        })
    };
}

/// A record's columns, each read by its name from a row of either database; what follows a semicolon is read where the
/// query asks for it. sqlx's derive would do the same, but builds both databases' drivers a second time, for the compiler.
macro_rules! columns {
    (
        $(#[$about:meta])*
        $record:ident { $($field:ident: $type:ty),* $(,)? $(; $asked:ident: $inner:ty)? }
    ) => {
        $(#[$about])*
        #[derive(Debug)]
        pub(crate) struct $record { $($field: $type,)* $($asked: Option<$inner>)? }

        columns!(SqliteRow => $record { $($field),* $(; $asked)? });
        columns!(PgRow => $record { $($field),* $(; $asked)? });
    };
    ($row:ident => $record:ident { $($field:ident),* $(; $asked:ident)? }) => {
        impl FromRow<'_, $row> for $record {
            fn from_row(row: &$row) -> sqlx::Result<Self> {
                Ok(Self {
                    $($field: row.try_get(stringify!($field))?,)*
                    $($asked: match row.try_get(stringify!($asked)) {
                        Err(sqlx::Error::ColumnNotFound(_)) => None,
                        read => read?,
                    })?
                })
            }
        }
    };
}

/// A record type with its columns, and the row it becomes.
macro_rules! record {
    ($record:ident of $table:literal by $keys:tt => $row:ident { $($field:ident: $type:ty),* $(,)? }) => {
        columns! {
            /// Columns of the row of that name.
            $record { $($field: $type),* }
        }

        impl Record for $record {
            const TABLE: &'static str = $table;
        }

        impl TryFrom<$record> for $row {
            type Error = CorruptRow;

            fn try_from(record: $record) -> Result<Self, CorruptRow> {
                Ok(Self { $($field: column!(record, $table, $keys, $field, stringify!($field))?),* })
            }
        }
    };
}

mod evidence;

pub(crate) use evidence::{Filed, PackRecord, ReplicaRecord, ReportRecord, Unpacked, file};

record!(AccountRecord of "account" by [id] => AccountRow {
    id: Vec<u8>, current_key: Vec<u8>, recovery: Option<Vec<u8>>, rotations: i64, status: String, granted: i64,
    joined: i64,
});
record!(HostRecord of "host" by [id] => HostRow {
    id: Vec<u8>, owner: Vec<u8>, expiry: i64, revoked_at: Option<i64>, joined: i64, seen: i64, reports: i64,
    last_report: Vec<u8>, settled: i64, fuel: i64, voided: i64, outvoted: i64, abandoned: i64,
});
record!(JobRecord of "job" by [id] => JobRow {
    id: Vec<u8>, shard: i16, epoch: i64, number: i64, payer: Vec<u8>, submitter: Vec<u8>, module: Vec<u8>,
    title: String, envelope: Vec<u8>, state: String, tasks: i64, final_tasks: i64, failed_tasks: i64,
    provisional_tasks: i64, largest_input: i64, escrow: i64, held_granted: i64, spent: i64, fuel: i64, submitted: i64, finished: Option<i64>, deadline: i64,
    held: bool, collecting: Option<i64>,
});
record!(LeaseRecord of "lease" by [attempt] => LeaseRow {
    attempt: Vec<u8>, digest: Vec<u8>, job: Vec<u8>, host: Vec<u8>, owner: Vec<u8>, first: i64, count: i64, epoch: i64,
    issued: i64, expiry: i64, given_back: Option<Vec<u8>>, near: Option<Vec<u8>>, relaxed: bool,
});
record!(SegmentRecord of "segment" by [job, task, segment] => SegmentRow {
    job: Vec<u8>, task: i64, segment: i64, root: Vec<u8>, fuel: i64, snapshot: Vec<u8>, length: i64, host: Vec<u8>,
    at: i64,
});
record!(VoidRecord of "void_run" by [id] => VoidRow {
    id: i64, job: Vec<u8>, task: i64, host: Vec<u8>, owner: Vec<u8>, fault: String, cause: i16, detail: String, at: i64,
});
record!(SuspensionRecord of "suspension" by [kind, subject] => SuspensionRow {
    kind: String, subject: Vec<u8>, reason: String, at: i64,
});
record!(AdminRecord of "admin_entry" by [id] => AdminRow {
    id: i64, actor: Vec<u8>, action: String, subject: String, reason: String, at: i64,
});
record!(KeyRecord of "key_entry" by [id] => KeyRow {
    id: i64, account: Vec<u8>, kind: String, envelope: Vec<u8>, at: i64,
});
record!(OnceRecord of "idempotency" by [account, route, name] => OnceRow {
    account: Vec<u8>, route: String, name: String, request: Vec<u8>, subject: Vec<u8>, at: i64,
});
record!(HoldRecord of "job_hold" by [job, kind] => HoldRow {
    job: Vec<u8>, kind: String, account: Vec<u8>, reason: String, at: i64,
});
record!(BlobRecord of "blob" by [digest] => BlobRow { digest: Vec<u8>, length: i64, account: Vec<u8>, at: i64 });

columns! {
    /// Columns of a page of slot states.
    PageRecord {
        job: Vec<u8>,
        page: i64,
        states: Vec<u8>,
    }
}

impl Record for PageRecord {
    const TABLE: &'static str = "job_page";
}

impl TryFrom<PageRecord> for PageRow {
    type Error = CorruptRow;

    fn try_from(record: PageRecord) -> Result<Self, CorruptRow> {
        let states = (record.states.len() == PAGE_BYTES).then(|| record.states.clone());
        Ok(Self {
            job: column!(record, "job_page", [job, page], job, "job")?,
            page: column!(record, "job_page", [job, page], page, "page")?,
            states: states.ok_or_else(|| CorruptRow {
                table: "job_page",
                column: "states".to_owned(),
                key: [record.job.shown(), record.page.shown()].join(" "),
            })?,
        })
    }
}

columns! {
    /// The highest numbers of tables.
    CounterRecord {
        job: i64,
        transfer: i64,
        void: i64,
        admin: i64,
        key: i64,
        log: i64,
    }
}

impl Record for CounterRecord {
    const TABLE: &'static str = "counter";
}

impl TryFrom<CounterRecord> for Counters {
    type Error = CorruptRow;

    fn try_from(record: CounterRecord) -> Result<Self, CorruptRow> {
        macro_rules! read {
            ($field:ident) => {
                column!(record, "counter", [$field], $field, stringify!($field))?
            };
        }
        Ok(Self {
            job: read!(job),
            task: 0,
            transfer: read!(transfer),
            void: read!(void),
            admin: read!(admin),
            key: read!(key),
            log: read!(log),
        })
    }
}

columns! {
    /// Columns of a decided task, with the output of its standing replica where the query asks for it.
    TaskRecord {
        job: Vec<u8>,
        task: i64,
        segment: i64,
        sequence: i64,
        state: String,
        host: Option<Vec<u8>>,
        cause: Option<String>,
        outcome: Option<i16>,
        code: Option<i16>,
        fuel: Option<i64>,
        output: Option<Vec<u8>>,
        output_bytes: Option<i64>,
        at: i64;
        inline: Vec<u8>
    }
}

impl Record for TaskRecord {
    const TABLE: &'static str = "task";
}

impl TaskRecord {
    /// How the run ended, from its two columns.
    fn outcome(&self) -> Option<Option<Outcome>> {
        match (self.outcome, self.code) {
            (None, None) => Some(None),
            (Some(kind), Some(code)) => {
                Outcome::from_parts(kind.try_into().ok()?, code.try_into().ok()?).map(Some)
            }
            _ => None,
        }
    }
}

impl TryFrom<TaskRecord> for TaskRow {
    type Error = CorruptRow;

    fn try_from(record: TaskRecord) -> Result<Self, CorruptRow> {
        macro_rules! read {
            ($field:ident) => {
                column!(record, "task", [job, task], $field, stringify!($field))?
            };
        }
        let outcome = record.outcome().ok_or_else(|| CorruptRow {
            table: "task",
            column: "outcome".to_owned(),
            key: [record.job.shown(), record.task.shown()].join(" "),
        })?;
        Ok(Self {
            job: read!(job),
            task: read!(task),
            segment: read!(segment),
            sequence: read!(sequence),
            state: read!(state),
            host: read!(host),
            cause: read!(cause),
            outcome,
            fuel: read!(fuel),
            output: read!(output),
            output_bytes: read!(output_bytes),
            at: read!(at),
        })
    }
}

impl TryFrom<TaskRecord> for Decided {
    type Error = CorruptRow;

    fn try_from(mut record: TaskRecord) -> Result<Self, CorruptRow> {
        let output = record.inline.take();
        Ok(Self { task: record.try_into()?, output })
    }
}

columns! {
    /// The five columns that name a ledger account, and its balance.
    BalanceRecord {
        id: Vec<u8>,
        issuer: Vec<u8>,
        kind: String,
        owner: Option<Vec<u8>>,
        job: Option<Vec<u8>>,
        host: Option<Vec<u8>>,
        amount: i64,
        sequence: i64,
    }
}

impl Record for BalanceRecord {
    const TABLE: &'static str = "balance";
}

impl TryFrom<BalanceRecord> for BalanceRow {
    type Error = CorruptRow;

    fn try_from(record: BalanceRecord) -> Result<Self, CorruptRow> {
        macro_rules! read {
            ($field:ident) => {
                column!(record, "ledger_account", [id], $field, stringify!($field))?
            };
        }
        let kind = AccountKind::from_parts(&record.kind, read!(owner), read!(job), read!(host));
        let kind = kind.ok_or_else(|| CorruptRow {
            table: "ledger_account",
            column: "kind".to_owned(),
            key: record.id.shown(),
        })?;
        Ok(Self {
            account: AccountKey { issuer: read!(issuer), kind },
            amount: Amount::new(record.amount),
            sequence: column!(record, "balance", [id], sequence, "sequence")?,
        })
    }
}

columns! {
    /// Columns of a transfer and of the two accounts it touches.
    TransferRecord {
        id: i64,
        issuer: Vec<u8>,
        kind: String,
        debit_kind: String,
        debit_owner: Option<Vec<u8>>,
        debit_job: Option<Vec<u8>>,
        debit_host: Option<Vec<u8>>,
        credit_kind: String,
        credit_owner: Option<Vec<u8>>,
        credit_job: Option<Vec<u8>>,
        credit_host: Option<Vec<u8>>,
        amount: i64,
        job: Option<Vec<u8>>,
        host: Option<Vec<u8>>,
        evidence: Vec<u8>,
        at: i64,
    }
}

impl Record for TransferRecord {
    const TABLE: &'static str = "transfer";
}

impl TryFrom<TransferRecord> for TransferRow {
    type Error = CorruptRow;

    fn try_from(record: TransferRecord) -> Result<Self, CorruptRow> {
        macro_rules! read {
            ($field:ident) => {
                column!(record, "transfer", [id], $field, stringify!($field))?
            };
        }
        let issuer = read!(issuer);
        let side = |kind: Option<AccountKind>, column: &str| {
            let key = kind.map(|kind| AccountKey { issuer, kind });
            key.ok_or_else(|| CorruptRow {
                table: "transfer",
                column: String::from(column),
                key: record.id.shown(),
            })
        };
        let (owner, job, host) = (read!(debit_owner), read!(debit_job), read!(debit_host));
        let debit = AccountKind::from_parts(&record.debit_kind, owner, job, host);
        let (owner, job, host) = (read!(credit_owner), read!(credit_job), read!(credit_host));
        let credit = AccountKind::from_parts(&record.credit_kind, owner, job, host);
        let transfer = Transfer {
            kind: read!(kind),
            issuer,
            debit: side(debit, "debit")?,
            credit: side(credit, "credit")?,
            amount: read!(amount),
            job: read!(job),
            host: read!(host),
            evidence: read!(evidence),
        };
        Ok(Self { id: read!(id), transfer, at: read!(at) })
    }
}

columns! {
    /// Columns of a job and a host that it paid.
    PaidRecord {
        job: Vec<u8>,
        host: Vec<u8>,
    }
}

impl Record for PaidRecord {
    const TABLE: &'static str = "ledger_account";
}

impl TryFrom<PaidRecord> for (JobId, HostId) {
    type Error = CorruptRow;

    fn try_from(record: PaidRecord) -> Result<Self, CorruptRow> {
        Ok((
            column!(record, "ledger_account", [job, host], job, "job")?,
            column!(record, "ledger_account", [job, host], host, "host")?,
        ))
    }
}
