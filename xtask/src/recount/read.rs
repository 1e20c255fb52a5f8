//! Reads the books from the coordinator's database, without changing it.

use std::collections::HashMap;

use anyhow::Context;
use futures_util::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _, SqliteConnection};
use tallymill_protocol::cbor::Message as _;
use tallymill_protocol::{Manifest, Receipt, Signed};

use super::packs::unpack;
use super::{Books, Id, Moved};
use crate::database::Place;

/// The books in this database. The coordinator may run meanwhile: one snapshot is read.
pub(crate) async fn read(place: &Place) -> anyhow::Result<Books> {
    let mut database = Database::open(place).await.context("failed to open the database")?;
    let mut books = Books::default();
    jobs(&mut database, &mut books).await.context("failed to read jobs")?;
    receipts(&mut database, &mut books).await.context("failed to read receipts")?;
    transfers(&mut database, &mut books).await.context("failed to read transfers")?;
    balances(&mut database, &mut books).await.context("failed to read balances")?;
    Ok(books)
}

/// A database in a transaction whose reads all see one state.
enum Database {
    File(SqliteConnection),
    Server(PgConnection),
}

/// Columns of a row of any database.
trait Columns {
    fn bytes(&self, column: &str) -> sqlx::Result<Option<&[u8]>>;
    fn text(&self, column: &str) -> sqlx::Result<&str>;
    fn number(&self, column: &str) -> sqlx::Result<i64>;
}

macro_rules! columns {
    ($($row:ty),*) => {$(
        impl Columns for $row {
            fn bytes(&self, column: &str) -> sqlx::Result<Option<&[u8]>> {
                self.try_get(column)
            }

            fn text(&self, column: &str) -> sqlx::Result<&str> {
                self.try_get(column)
            }

            fn number(&self, column: &str) -> sqlx::Result<i64> {
                self.try_get(column)
            }
        }
    )*};
}
columns!(SqliteRow, PgRow);

impl Database {
    async fn open(place: &Place) -> sqlx::Result<Self> {
        match place {
            Place::File(file) => {
                let options = SqliteConnectOptions::new().filename(file).read_only(true);
                let mut file = options.connect().await?;
                sqlx::query("BEGIN").execute(&mut file).await?;
                Ok(Self::File(file))
            }
            Place::Server(address) => {
                let mut server = PgConnection::connect(address).await?;
                let begin = sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
                begin.execute(&mut server).await?;
                Ok(Self::Server(server))
            }
        }
    }

    /// Hands over every row of a query, one after the other.
    async fn each(
        &mut self,
        sql: &'static str,
        mut take: impl FnMut(&dyn Columns) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Self::File(file) => {
                let mut rows = sqlx::query(sql).fetch(file);
                while let Some(row) = rows.try_next().await? {
                    take(&row)?;
                }
            }
            Self::Server(server) => {
                let mut rows = sqlx::query(sql).fetch(server);
                while let Some(row) = rows.try_next().await? {
                    take(&row)?;
                }
            }
        }
        Ok(())
    }
}

async fn jobs(database: &mut Database, books: &mut Books) -> anyhow::Result<()> {
    let all = include_str!("../../sql/jobs.sql");
    let job = |row: &dyn Columns| {
        let envelope = Signed::<Manifest>::from_bytes(some(row, "envelope")?)?;
        let job = id(row, "id")?;
        books.job(job, envelope.peek()?);
        if row.number("collecting")? > 0 {
            books.collected(job);
        }
        Ok(())
    };
    database.each(all, job).await
}

/// What stands at a place of a report: job, host, and whether it is a result.
type Paid = HashMap<(i64, i64), (Id, Id, bool)>;

async fn receipts(database: &mut Database, books: &mut Books) -> anyhow::Result<()> {
    let mut paid = Paid::new();
    let replica = |row: &dyn Columns| {
        let place = (row.number("report")?, row.number("position")?);
        let stands = (id(row, "job")?, id(row, "host")?, row.text("state")? != "stopped");
        anyhow::ensure!(paid.insert(place, stands).is_none(), "two results at {place:?}");
        Ok(())
    };
    database.each(include_str!("../../sql/paid_receipts.sql"), replica).await?;
    let pack = |row: &dyn Columns| {
        let (report, first) = (row.number("report")?, row.number("position")?);
        for (position, receipt) in unpack(row.number("packing")?, first, some(row, "bytes")?)? {
            if let Some((job, host, result)) = paid.remove(&(report, position)) {
                books.receipt(job, host, &Receipt::from_bytes(&receipt)?, result)?;
            }
        }
        Ok(())
    };
    database.each(include_str!("../../sql/receipt_packs.sql"), pack).await?;
    anyhow::ensure!(paid.is_empty(), "{} paid results without their receipts", paid.len());
    Ok(())
}

async fn transfers(database: &mut Database, books: &mut Books) -> anyhow::Result<()> {
    let all = include_str!("../../sql/transfers.sql");
    let transfer = |row: &dyn Columns| {
        books.transfer(Moved {
            issuer: id(row, "issuer")?,
            kind: row.text("kind")?.to_owned(),
            debit: id(row, "debit")?,
            credit: id(row, "credit")?,
            amount: row.number("amount")?,
            job: maybe_id(row, "job")?,
            host: maybe_id(row, "host")?,
        });
        Ok(())
    };
    database.each(all, transfer).await
}

async fn balances(database: &mut Database, books: &mut Books) -> anyhow::Result<()> {
    let all = include_str!("../../sql/balances.sql");
    let balance = |row: &dyn Columns| {
        books.balance(id(row, "account")?, id(row, "issuer")?, row.number("amount")?);
        Ok(())
    };
    database.each(all, balance).await
}

fn some<'r>(row: &'r dyn Columns, column: &str) -> anyhow::Result<&'r [u8]> {
    row.bytes(column)?.with_context(|| format!("column {column} is null"))
}

fn id(row: &dyn Columns, column: &str) -> anyhow::Result<Id> {
    maybe_id(row, column)?.with_context(|| format!("column {column} is null"))
}

fn maybe_id(row: &dyn Columns, column: &str) -> anyhow::Result<Option<Id>> {
    let id = row.bytes(column)?.map(TryInto::try_into).transpose();
    id.with_context(|| format!("column {column} has not 32 bytes"))
}
