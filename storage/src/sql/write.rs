//! A batch as one transaction: fence, facts, then table after table in bulk.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{Connection, Transaction};
use tallymill_engine::rows::{Batch, BlobRow, OnceRow, ReplicaMove, TransferRow};
use tallymill_ledger::AccountKey;
use tallymill_protocol::{CoordinatorId, Digest, Micros};

use super::backend::failed;
use super::bulk::bulk;
use super::migrate::{self, fence, set};
use super::value::{cells, put};
use super::{Backend, Hold, evidence, sql};
use crate::names::Named;
use crate::{CommitError, ONCE_TERM, shard_of};

/// Everything of the batch, or nothing.
pub(super) async fn commit<B: Backend>(
    connection: &mut B::Connection,
    hold: Hold,
    batch: &Batch,
) -> Result<(), CommitError> {
    let mut transaction = connection.begin_with(B::BEGIN).await.map_err(failed::<B>)?;
    let tx = &mut transaction;
    fence(tx, hold).await?;
    advance(tx, batch).await?;
    people(tx, batch).await?;
    jobs(tx, batch).await?;
    evidence::reports(tx, batch).await?;
    evidence::replicas(tx, batch).await?;
    moves(tx, &batch.moves).await?;
    decisions(tx, batch).await?;
    ledger(tx, batch).await?;
    operators(tx, batch).await?;
    transaction.commit().await.map_err(failed::<B>)
}

/// A write that nobody reads. It differs each time: SQLite does not write a row again that is the same, and a probe that
/// writes nothing succeeds on a full disk.
pub(super) async fn probe<B: Backend>(
    connection: &mut B::Connection,
    hold: Hold,
) -> Result<(), CommitError> {
    let mut transaction = connection.begin_with(B::BEGIN).await.map_err(failed::<B>)?;
    let tx = &mut transaction;
    fence(tx, hold).await?;
    let probes = fact(tx, "probes").await?.unwrap_or(0);
    set(tx, &[("probes", &probes.wrapping_add(1).to_be_bytes())]).await?;
    transaction.commit().await.map_err(failed::<B>)
}

/// A number among the facts: eight big-endian bytes.
async fn fact<B: Backend>(
    tx: &mut Transaction<'_, B>,
    name: &str,
) -> Result<Option<u64>, CommitError> {
    let found = migrate::fact(tx, name).await.map_err(failed::<B>)?;
    Ok(found.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes))
}

/// Moves the facts from the last batch to this one, when it is the next.
async fn advance<B: Backend>(
    tx: &mut Transaction<'_, B>,
    batch: &Batch,
) -> Result<(), CommitError> {
    let expected = fact(tx, "sequence").await?.unwrap_or(0).saturating_add(1);
    if batch.sequence != expected {
        return Err(CommitError::Sequence { expected, found: batch.sequence });
    }
    let (sequence, now) = (batch.sequence.to_be_bytes(), batch.now.0.to_be_bytes());
    let mut facts: Vec<(&str, &[u8])> = vec![("sequence", &sequence), ("now", &now)];
    let last = batch.tasks.iter().map(|task| task.sequence).max();
    let task = match last {
        Some(last) => last.max(fact(tx, "task").await?.unwrap_or(0)).to_be_bytes(),
        None => [0; 8],
    };
    facts.extend(last.map(|_| ("task", task.as_slice())));
    set(tx, &facts).await
}

async fn people<B: Backend>(tx: &mut Transaction<'_, B>, batch: &Batch) -> Result<(), CommitError> {
    bulk!("account", "upsert")
        .run(tx, &batch.accounts, |row, cells| {
            put!(cells; row.id, shard_of(&row.id.0), row.current_key, row.recovery, row.rotations);
            put!(cells; row.status.name(), row.granted, row.joined);
        })
        .await?;
    bulk!("key_entry", "insert")
        .run(tx, &batch.keys, |row, cells| {
            put!(cells; row.id, row.account, row.kind, row.envelope, row.at);
        })
        .await?;
    let hosts: Vec<_> = (1_u64..).zip(&batch.hosts).collect();
    bulk!("host", "upsert")
        .run(tx, &hosts, |(place, row), cells| {
            put!(cells; *place, row.id, shard_of(&row.id.0), row.owner, row.expiry, row.revoked_at, row.joined);
            put!(cells; row.seen, row.reports, row.last_report, row.settled, row.fuel, row.voided);
            put!(cells; row.outvoted, row.abandoned);
        })
        .await
        .map(drop)
}

async fn jobs<B: Backend>(tx: &mut Transaction<'_, B>, batch: &Batch) -> Result<(), CommitError> {
    let written = bulk!("job", "upsert")
        .run(tx, &batch.jobs, |row, cells| {
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
        .run(tx, &batch.pages, |row, cells| put!(cells; row.job, row.page, row.states))
        .await?;
    bulk!("lease", "upsert")
        .run(tx, &batch.leases, |row, cells| {
            put!(cells; row.attempt, row.digest, row.job, row.host, row.owner, row.first, row.count);
            let given_back = row.given_back.iter().flat_map(|task| task.0.to_be_bytes());
            let given_back: Vec<u8> = given_back.collect();
            put!(cells; row.epoch, row.issued, row.expiry, Some(given_back).filter(|it| !it.is_empty()));
            put!(cells; row.near, row.relaxed);
        })
        .await?;
    bulk!("lease", "delete")
        .run(tx, &batch.closed_leases, |attempt, cells| put!(cells; *attempt))
        .await
        .map(drop)
}

/// Only the last move of a replica counts; one that is not there is an error.
async fn moves<B: Backend>(
    tx: &mut Transaction<'_, B>,
    moves: &[ReplicaMove],
) -> Result<(), CommitError> {
    let last: BTreeMap<_, _> =
        moves.iter().map(|row| ((row.job, row.task, row.segment, row.host), row.state)).collect();
    let last: Vec<_> = last.into_iter().collect();
    let moved = bulk!("replica", "move")
        .run(tx, &last, |((job, task, segment, host), state), cells| {
            put!(cells; state.name(), *job, *task, *segment, *host);
        })
        .await?;
    match (last.len() as u64).saturating_sub(moved) {
        0 => Ok(()),
        missing => Err(CommitError::Missing { table: "replica", missing }),
    }
}

/// What became of tasks, of their segments, and of runs without a result.
async fn decisions<B: Backend>(
    tx: &mut Transaction<'_, B>,
    batch: &Batch,
) -> Result<(), CommitError> {
    bulk!("task", "upsert")
        .run(tx, &batch.tasks, |row, cells| {
            let (outcome, code) = row.outcome.map(|outcome| outcome.parts()).unzip();
            put!(cells; row.job, row.task, row.segment, row.sequence, row.state.name(), row.host, row.cause);
            put!(cells; outcome, code, row.fuel, row.output, row.output_bytes, row.at);
        })
        .await?;
    bulk!("segment", "insert")
        .run(tx, &batch.segments, |row, cells| {
            put!(cells; row.job, row.task, row.segment, row.root, row.fuel, row.snapshot, row.length);
            put!(cells; row.host, row.at);
        })
        .await?;
    bulk!("void_run", "insert")
        .run(tx, &batch.voids, |row, cells| {
            put!(cells; row.id, row.job, row.task, row.host, row.owner, row.fault.name(), row.cause);
            put!(cells; row.detail, row.at);
        })
        .await
        .map(drop)
}

async fn ledger<B: Backend>(tx: &mut Transaction<'_, B>, batch: &Batch) -> Result<(), CommitError> {
    accounts(tx, batch).await?;
    bulk!("transfer", "insert")
        .run(tx, &batch.transfers, |TransferRow { id, transfer, at }, cells| {
            let (debit, credit) = (transfer.debit.id(), transfer.credit.id());
            put!(cells; *id, transfer.issuer, transfer.kind.name(), debit, credit, transfer.amount);
            put!(cells; transfer.job, transfer.host, transfer.evidence, shard_of(&debit.0), *at);
        })
        .await?;
    bulk!("balance", "upsert")
        .run(tx, &batch.balances, |row, cells| {
            let id = row.account.id();
            put!(cells; id, shard_of(&id.0), row.amount, row.sequence);
        })
        .await
        .map(drop)
}

/// Accounts and issuers that transfers and balances name for the first time.
async fn accounts<B: Backend>(
    tx: &mut Transaction<'_, B>,
    batch: &Batch,
) -> Result<(), CommitError> {
    let sides = batch.transfers.iter().flat_map(|row| [row.transfer.debit, row.transfer.credit]);
    let keys: BTreeSet<AccountKey> =
        sides.chain(batch.balances.iter().map(|row| row.account)).collect();
    let issuers: BTreeSet<CoordinatorId> = keys.iter().map(|key| key.issuer).collect();
    let (keys, issuers) = (Vec::from_iter(keys), Vec::from_iter(issuers));
    bulk!("issuer", "keep")
        .run(tx, &issuers, |issuer, cells| put!(cells; *issuer, batch.now))
        .await?;
    bulk!("ledger_account", "keep")
        .run(tx, &keys, |key, cells| {
            let (kind, owner, job, host) = key.kind.parts();
            put!(cells; key.id(), key.issuer, kind, owner, job, host);
        })
        .await
        .map(drop)
}

async fn operators<B: Backend>(
    tx: &mut Transaction<'_, B>,
    batch: &Batch,
) -> Result<(), CommitError> {
    bulk!("suspension", "upsert")
        .run(tx, &batch.suspensions, |row, cells| {
            put!(cells; row.kind.name(), row.subject, row.reason, row.at);
        })
        .await?;
    for (kind, subject) in &batch.lifted {
        let one = cells![kind.name(), *subject];
        B::execute(tx, sql!("suspension/delete"), one).await.map_err(failed::<B>)?;
    }
    bulk!("admin_entry", "insert")
        .run(tx, &batch.admin, |row, cells| {
            put!(cells; row.id, row.actor, row.action, row.subject, row.reason, row.at);
        })
        .await?;
    once(tx, &batch.once, batch.now).await?;
    blobs(tx, batch).await?;
    holds(tx, batch).await
}

/// Forgets answers whose term is over, then adds the new ones: a name may be used again after the term.
async fn once<B: Backend>(
    tx: &mut Transaction<'_, B>,
    rows: &[OnceRow],
    now: Micros,
) -> Result<(), CommitError> {
    if rows.is_empty() {
        return Ok(());
    }
    let oldest = cells![Micros(now.0.saturating_sub(ONCE_TERM))];
    B::execute(tx, sql!("idempotency/prune"), oldest).await.map_err(failed::<B>)?;
    bulk!("idempotency", "insert")
        .run(tx, rows, |row, cells| {
            put!(cells; row.account, row.route, row.name, row.request, row.subject, row.at);
        })
        .await
        .map(drop)
}

/// Blobs and who needs them. One that was doomed and is uploaded again is not.
async fn blobs<B: Backend>(tx: &mut Transaction<'_, B>, batch: &Batch) -> Result<(), CommitError> {
    let mut rows: BTreeMap<Digest, (&BlobRow, Micros)> = BTreeMap::new();
    for row in &batch.blobs {
        let (_, touched) = rows.entry(row.digest).or_insert((row, row.at));
        *touched = row.at.max(*touched);
    }
    let rows: Vec<_> = rows.into_values().collect();
    bulk!("blob", "keep")
        .run(tx, &rows, |(row, touched), cells| {
            put!(cells; row.digest, row.length, row.account, row.at, *touched);
        })
        .await?;
    bulk!("blob_doomed", "delete")
        .run(tx, &rows, |(row, _), cells| put!(cells; row.digest))
        .await?;
    bulk!("blob_use", "keep")
        .run(tx, &batch.uses, |row, cells| put!(cells; row.digest, row.job))
        .await?;
    bulk!("blob", "charge")
        .run(tx, &batch.charges, |row, cells| put!(cells; row.digest, row.from, row.to))
        .await
        .map(drop)
}

async fn holds<B: Backend>(tx: &mut Transaction<'_, B>, batch: &Batch) -> Result<(), CommitError> {
    for (job, kind) in &batch.released {
        let one = cells![*job, kind.name()];
        B::execute(tx, sql!("job_hold/delete"), one).await.map_err(failed::<B>)?;
    }
    bulk!("job_hold", "upsert")
        .run(tx, &batch.holds, |row, cells| {
            put!(cells; row.job, row.kind.name(), row.account, row.reason, row.at);
        })
        .await
        .map(drop)
}
