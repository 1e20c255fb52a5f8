//! Reads the books from the coordinator's database file, read only.

use std::path::Path;

use anyhow::Context;
use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};
use tallymill_protocol::cbor::Message as _;
use tallymill_protocol::{Manifest, Receipt, Signed};

use super::{Books, Id, Moved};

/// The books in this file. The coordinator may run meanwhile: one snapshot is read.
pub(crate) async fn read(file: &Path) -> anyhow::Result<Books> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut database = options
        .connect()
        .await
        .with_context(|| format!("failed to open the database {}", file.display()))?;
    sqlx::query("BEGIN").execute(&mut database).await?;
    let mut books = Books::default();
    jobs(&mut database, &mut books).await.context("failed to read jobs")?;
    receipts(&mut database, &mut books).await.context("failed to read receipts")?;
    transfers(&mut database, &mut books).await.context("failed to read transfers")?;
    balances(&mut database, &mut books).await.context("failed to read balances")?;
    Ok(books)
}

async fn jobs(database: &mut SqliteConnection, books: &mut Books) -> anyhow::Result<()> {
    let mut rows = sqlx::query(include_str!("../../sql/jobs.sql")).fetch(database);
    while let Some(row) = rows.try_next().await? {
        let envelope = Signed::<Manifest>::from_bytes(row.try_get("envelope")?)?;
        books.job(id(&row, "id")?, envelope.peek()?);
    }
    Ok(())
}

async fn receipts(database: &mut SqliteConnection, books: &mut Books) -> anyhow::Result<()> {
    let paid = include_str!("../../sql/paid_receipts.sql");
    let mut rows = sqlx::query(paid).fetch(database);
    while let Some(row) = rows.try_next().await? {
        let receipt = Receipt::from_bytes(row.try_get("receipt")?)?;
        let result = row.try_get::<&str, _>("state")? != "stopped";
        books.receipt(id(&row, "job")?, id(&row, "host")?, &receipt, result)?;
    }
    Ok(())
}

async fn transfers(database: &mut SqliteConnection, books: &mut Books) -> anyhow::Result<()> {
    let all = include_str!("../../sql/transfers.sql");
    let mut rows = sqlx::query(all).fetch(database);
    while let Some(row) = rows.try_next().await? {
        books.transfer(Moved {
            issuer: id(&row, "issuer")?,
            kind: row.try_get("kind")?,
            debit: id(&row, "debit")?,
            credit: id(&row, "credit")?,
            amount: row.try_get("amount")?,
            job: maybe_id(&row, "job")?,
            host: maybe_id(&row, "host")?,
        });
    }
    Ok(())
}

async fn balances(database: &mut SqliteConnection, books: &mut Books) -> anyhow::Result<()> {
    let all = include_str!("../../sql/balances.sql");
    let mut rows = sqlx::query(all).fetch(database);
    while let Some(row) = rows.try_next().await? {
        books.balance(id(&row, "account")?, id(&row, "issuer")?, row.try_get("amount")?);
    }
    Ok(())
}

fn id(row: &SqliteRow, column: &str) -> anyhow::Result<Id> {
    maybe_id(row, column)?.with_context(|| format!("column {column} is null"))
}

fn maybe_id(row: &SqliteRow, column: &str) -> anyhow::Result<Option<Id>> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    let id = bytes.map(TryInto::try_into).transpose();
    id.with_context(|| format!("column {column} has not 32 bytes"))
}
