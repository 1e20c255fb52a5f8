//! A batch as one transaction: fence, facts, then table after table in bulk.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{Connection, SqliteConnection};
use tallymill_engine::rows::{Batch, BlobRow, OnceRow, ReplicaMove, TransferRow};
use tallymill_ledger::AccountKey;
use tallymill_protocol::{CoordinatorId, Digest, LeaseDigest, Micros};

use super::bulk::{Bulk, put};
use super::{Hold, failed, sql};
use crate::names::Named;
use crate::{CommitError, ONCE_TERM, SHARDS, shard_of};

/// A bulk statement of `sql/TABLE/VERB.sql`.
macro_rules! bulk {
    ($table:literal, $verb:literal) => {
        Bulk {
            table: $table,
            sql: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/sql/",
                $table,
                "/",
                $verb,
                ".sql"
            )),
        }
    };
}

/// Everything of the batch, or nothing.
pub(super) async fn commit(
    connection: &mut SqliteConnection,
    hold: Hold,
    batch: &Batch,
) -> Result<(), CommitError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    fence(&mut transaction, hold).await?;
    advance(&mut transaction, batch).await?;
    people(&mut transaction, batch).await?;
    jobs(&mut transaction, batch).await?;
    reports(&mut transaction, batch).await?;
    replicas(&mut transaction, batch).await?;
    ledger(&mut transaction, batch).await?;
    operators(&mut transaction, batch).await?;
    transaction.commit().await.map_err(failed)
}

/// A write that nobody reads. It differs each time: SQLite does not write a row again that is the same, and a probe that
/// writes nothing succeeds on a full disk.
pub(super) async fn probe(
    connection: &mut SqliteConnection,
    hold: Hold,
) -> Result<(), CommitError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    fence(&mut transaction, hold).await?;
    let probes = fact(&mut transaction, "probes").await?.unwrap_or(0);
    set(&mut transaction, "probes", probes.wrapping_add(1)).await?;
    transaction.commit().await.map_err(failed)
}

/// Whether all shards still have this owner and epoch.
pub(super) async fn held(
    connection: &mut SqliteConnection,
    hold: Hold,
) -> Result<bool, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(sql!("shard/held"))
        .bind(hold.owner.0.as_slice())
        .bind(hold.epoch.cast_signed())
        .fetch_one(connection)
        .await?;
    Ok(count == i64::from(SHARDS))
}

async fn fence(connection: &mut SqliteConnection, hold: Hold) -> Result<(), CommitError> {
    if held(connection, hold).await.map_err(failed)? {
        return Ok(());
    }
    Err(CommitError::Fenced { epoch: hold.epoch })
}

/// A number among the facts: eight big-endian bytes.
async fn fact(connection: &mut SqliteConnection, name: &str) -> Result<Option<u64>, CommitError> {
    let found: Option<Vec<u8>> = sqlx::query_scalar(sql!("meta/get"))
        .bind(name)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    Ok(found.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes))
}

async fn set(connection: &mut SqliteConnection, name: &str, value: u64) -> Result<(), CommitError> {
    let set = sqlx::query(sql!("meta/set")).bind(name).bind(value.to_be_bytes().to_vec());
    set.execute(connection).await.map(drop).map_err(failed)
}

/// Moves the facts from the last batch to this one, when it is the next.
async fn advance(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), CommitError> {
    let expected = fact(connection, "sequence").await?.unwrap_or(0).saturating_add(1);
    if batch.sequence != expected {
        return Err(CommitError::Sequence { expected, found: batch.sequence });
    }
    set(connection, "sequence", batch.sequence).await?;
    set(connection, "now", batch.now.0).await?;
    match batch.tasks.iter().map(|task| task.sequence).max() {
        Some(last) => {
            let last = last.max(fact(connection, "task").await?.unwrap_or(0));
            set(connection, "task", last).await
        }
        None => Ok(()),
    }
}

async fn people(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), CommitError> {
    bulk!("account", "upsert")
        .run(connection, &batch.accounts, |row, cells| {
            put!(cells; row.id, shard_of(&row.id.0), row.current_key, row.recovery, row.rotations);
            put!(cells; row.status.name(), row.granted, row.joined);
        })
        .await?;
    bulk!("key_entry", "insert")
        .run(connection, &batch.keys, |row, cells| {
            put!(cells; row.id, row.account, row.kind, row.envelope, row.at);
        })
        .await?;
    bulk!("host", "upsert")
        .run(connection, &batch.hosts, |row, cells| {
            put!(cells; row.id, shard_of(&row.id.0), row.owner, row.expiry, row.revoked_at, row.joined);
            put!(cells; row.seen, row.reports, row.last_report, row.settled, row.fuel, row.voided);
            put!(cells; row.outvoted, row.abandoned);
        })
        .await
        .map(drop)
}

async fn jobs(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), CommitError> {
    let written = bulk!("job", "upsert")
        .run(connection, &batch.jobs, |row, cells| {
            put!(cells; row.id, row.shard, row.epoch, row.number, row.payer, row.submitter, row.module);
            put!(cells; row.title, row.envelope, row.state.name(), row.tasks, row.final_tasks);
            put!(cells; row.failed_tasks, row.provisional_tasks, row.largest_input, row.escrow);
            put!(cells; row.held_granted, row.spent, row.fuel, row.submitted, row.finished, row.deadline);
        })
        .await?;
    if written < batch.jobs.len() as u64 {
        let (table, detail) = ("job".to_owned(), "another number".to_owned());
        return Err(CommitError::Conflict { table, detail });
    }
    bulk!("job_page", "upsert")
        .run(connection, &batch.pages, |row, cells| put!(cells; row.job, row.page, row.states))
        .await?;
    bulk!("lease", "upsert")
        .run(connection, &batch.leases, |row, cells| {
            put!(cells; row.attempt, row.digest, row.job, row.host, row.owner, row.first, row.count);
            let given_back = row.given_back.iter().flat_map(|task| task.0.to_be_bytes());
            let given_back: Vec<u8> = given_back.collect();
            put!(cells; row.epoch, row.issued, row.expiry, Some(given_back).filter(|it| !it.is_empty()));
            put!(cells; row.near, row.relaxed);
        })
        .await?;
    bulk!("lease", "delete")
        .run(connection, &batch.closed_leases, |attempt, cells| put!(cells; *attempt))
        .await
        .map(drop)
}

async fn reports(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), CommitError> {
    bulk!("report", "insert")
        .run(connection, &batch.reports, |row, cells| {
            let leaves = joined(row.leaves.iter().map(Digest::as_bytes));
            let leases = joined(row.leases.iter().map(|(digest, _)| digest.as_bytes()));
            put!(cells; row.root, row.host, row.sequence, row.epoch, row.envelope, leaves, leases);
            put!(cells; row.receipts, row.verdicts, row.log_index, row.at);
        })
        .await?;
    let tokens: BTreeMap<LeaseDigest, _> = batch
        .reports
        .iter()
        .flat_map(|row| row.leases.iter().map(|(digest, envelope)| (*digest, envelope)))
        .collect();
    let tokens: Vec<_> = tokens.into_iter().collect();
    bulk!("lease_token", "keep")
        .run(connection, &tokens, |(digest, envelope), cells| put!(cells; *digest, **envelope))
        .await?;
    bulk!("log_entry", "insert")
        .run(connection, &batch.reports, |row, cells| {
            put!(cells; row.log_index, "report", row.root, row.at);
        })
        .await
        .map(drop)
}

fn joined<'d>(digests: impl Iterator<Item = &'d [u8; 32]>) -> Vec<u8> {
    digests.flatten().copied().collect()
}

async fn replicas(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), CommitError> {
    bulk!("replica", "insert")
        .run(connection, &batch.replicas, |row, cells| {
            put!(cells; row.job, row.task, row.segment, row.host, row.owner, row.attempt, row.state.name());
            put!(cells; row.report, row.position, row.receipt, row.lease, row.output, row.log);
            put!(cells; row.amount, row.final_after, row.at, row.near, row.relaxed);
        })
        .await?;
    moves(connection, &batch.moves).await?;
    bulk!("task", "upsert")
        .run(connection, &batch.tasks, |row, cells| {
            let (outcome, code) = row.outcome.map(|outcome| outcome.parts()).unzip();
            put!(cells; row.job, row.task, row.segment, row.sequence, row.state.name(), row.host, row.cause);
            put!(cells; outcome, code, row.fuel, row.output, row.output_bytes, row.at);
        })
        .await?;
    bulk!("segment", "insert")
        .run(connection, &batch.segments, |row, cells| {
            put!(cells; row.job, row.task, row.segment, row.root, row.fuel, row.snapshot, row.length);
            put!(cells; row.host, row.at);
        })
        .await?;
    bulk!("void_run", "insert")
        .run(connection, &batch.voids, |row, cells| {
            put!(cells; row.id, row.job, row.task, row.host, row.owner, row.fault.name(), row.cause);
            put!(cells; row.detail, row.at);
        })
        .await
        .map(drop)
}

/// Only the last move of a replica counts; one that is not there is an error.
async fn moves(
    connection: &mut SqliteConnection,
    moves: &[ReplicaMove],
) -> Result<(), CommitError> {
    let last: BTreeMap<_, _> =
        moves.iter().map(|row| ((row.job, row.task, row.segment, row.host), row.state)).collect();
    let last: Vec<_> = last.into_iter().collect();
    let moved = bulk!("replica", "move")
        .run(connection, &last, |((job, task, segment, host), state), cells| {
            put!(cells; state.name(), *job, *task, *segment, *host);
        })
        .await?;
    match (last.len() as u64).saturating_sub(moved) {
        0 => Ok(()),
        missing => Err(CommitError::Missing { table: "replica", missing }),
    }
}

async fn ledger(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), CommitError> {
    accounts(connection, batch).await?;
    bulk!("transfer", "insert")
        .run(connection, &batch.transfers, |TransferRow { id, transfer, at }, cells| {
            let (debit, credit) = (transfer.debit.id(), transfer.credit.id());
            put!(cells; *id, transfer.issuer, transfer.kind.name(), debit, credit, transfer.amount);
            put!(cells; transfer.job, transfer.host, transfer.evidence, shard_of(&debit.0), *at);
        })
        .await?;
    bulk!("balance", "upsert")
        .run(connection, &batch.balances, |row, cells| {
            let id = row.account.id();
            put!(cells; id, shard_of(&id.0), row.amount, row.sequence);
        })
        .await
        .map(drop)
}

/// Accounts and issuers that transfers and balances name for the first time.
async fn accounts(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), CommitError> {
    let sides = batch.transfers.iter().flat_map(|row| [row.transfer.debit, row.transfer.credit]);
    let keys: BTreeSet<AccountKey> =
        sides.chain(batch.balances.iter().map(|row| row.account)).collect();
    let issuers: BTreeSet<CoordinatorId> = keys.iter().map(|key| key.issuer).collect();
    let (keys, issuers) = (Vec::from_iter(keys), Vec::from_iter(issuers));
    bulk!("issuer", "keep")
        .run(connection, &issuers, |issuer, cells| put!(cells; *issuer, batch.now))
        .await?;
    bulk!("ledger_account", "keep")
        .run(connection, &keys, |key, cells| {
            let (kind, owner, job, host) = key.kind.parts();
            put!(cells; key.id(), key.issuer, kind, owner, job, host);
        })
        .await
        .map(drop)
}

async fn operators(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), CommitError> {
    bulk!("suspension", "upsert")
        .run(connection, &batch.suspensions, |row, cells| {
            put!(cells; row.kind.name(), row.subject, row.reason, row.at);
        })
        .await?;
    for (kind, subject) in &batch.lifted {
        let delete = sqlx::query(sql!("suspension/delete")).bind(kind.name());
        delete.bind(subject.as_slice()).execute(&mut *connection).await.map_err(failed)?;
    }
    bulk!("admin_entry", "insert")
        .run(connection, &batch.admin, |row, cells| {
            put!(cells; row.id, row.actor, row.action, row.subject, row.reason, row.at);
        })
        .await?;
    once(connection, &batch.once, batch.now).await?;
    blobs(connection, &batch.blobs).await
}

/// Forgets answers whose term is over, then adds the new ones: a name may be used again after the term.
async fn once(
    connection: &mut SqliteConnection,
    rows: &[OnceRow],
    now: Micros,
) -> Result<(), CommitError> {
    if rows.is_empty() {
        return Ok(());
    }
    let oldest = now.0.saturating_sub(ONCE_TERM).cast_signed();
    let prune = sqlx::query(sql!("idempotency/prune")).bind(oldest);
    prune.execute(&mut *connection).await.map_err(failed)?;
    bulk!("idempotency", "insert")
        .run(connection, rows, |row, cells| {
            put!(cells; row.account, row.route, row.name, row.request, row.subject, row.at);
        })
        .await
        .map(drop)
}

async fn blobs(connection: &mut SqliteConnection, rows: &[BlobRow]) -> Result<(), CommitError> {
    bulk!("blob", "keep")
        .run(connection, rows, |row, cells| {
            put!(cells; row.digest, row.length, row.account, row.at);
        })
        .await
        .map(drop)
}
