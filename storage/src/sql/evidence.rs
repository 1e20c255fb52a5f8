//! Writes reports, their lease tokens and receipts, and the replicas that the receipts became.

use std::collections::{BTreeMap, HashMap};

use sqlx::Transaction;
use tallymill_engine::rows::{Batch, ReplicaRow, ReportRow};
use tallymill_protocol::{AccountId, AttemptId, Digest, JobId, LeaseDigest};

use super::Backend;
use super::bulk::bulk;
use super::value::put;
use crate::CommitError;
use crate::names::Named;
use crate::packs::{Pack, pack};

/// Reports, whose leaves are stored only where no receipt is, and their lease tokens.
pub(super) async fn reports<B: Backend>(
    tx: &mut Transaction<'_, B>,
    batch: &Batch,
) -> Result<(), CommitError> {
    let mut kept: HashMap<Digest, Vec<&[ReplicaRow]>> = HashMap::new();
    for rows in batch.replicas.chunk_by(|row, next| row.report == next.report) {
        kept.entry(rows[0].report).or_default().push(rows);
    }
    bulk!("report", "insert")
        .run(tx, &batch.reports, |row, cells| {
            let replicas = kept.get(&row.root).into_iter().flatten().copied().flatten();
            let leaves = joined(alone(row, replicas).iter().map(Digest::as_bytes));
            let leases = joined(row.leases.iter().map(|(digest, _)| digest.as_bytes()));
            put!(cells; row.root, row.host, row.sequence, row.epoch, row.envelope, leaves, leases);
            put!(cells; row.receipts, row.verdicts, row.log_index, row.at);
        })
        .await?;
    tokens(tx, batch).await?;
    bulk!("log_entry", "insert")
        .run(tx, &batch.reports, |row, cells| {
            put!(cells; row.log_index, "report", row.root, row.at);
        })
        .await
        .map(drop)
}

/// Leaves of receipts that became no replica: those of the others can be computed.
fn alone<'r>(row: &ReportRow, replicas: impl Iterator<Item = &'r ReplicaRow>) -> Vec<Digest> {
    let mut leaves: Vec<_> = row.leaves.iter().copied().map(Some).collect();
    for replica in replicas {
        let place = usize::try_from(replica.position).ok().and_then(|at| leaves.get_mut(at));
        if let Some(leaf) = place {
            *leaf = None;
        }
    }
    leaves.into_iter().flatten().collect()
}

fn joined<'d>(digests: impl Iterator<Item = &'d [u8; 32]>) -> Vec<u8> {
    digests.flatten().copied().collect()
}

/// Lease tokens of the reports, each with how many of them name it, and whose grant it is where one of its results became a
/// replica.
async fn tokens<B: Backend>(tx: &mut Transaction<'_, B>, batch: &Batch) -> Result<(), CommitError> {
    let mut grants: HashMap<LeaseDigest, (AttemptId, AccountId)> = HashMap::new();
    for rows in batch.replicas.chunk_by(|row, next| row.lease == next.lease) {
        grants.insert(rows[0].lease, (rows[0].attempt, rows[0].owner));
    }
    let mut tokens = BTreeMap::new();
    for (digest, envelope) in batch.reports.iter().flat_map(|row| &row.leases) {
        tokens.entry(*digest).or_insert((envelope, 0_u64)).1 += 1;
    }
    let tokens: Vec<_> = (1_u64..).zip(tokens).collect();
    bulk!("lease_token", "keep")
        .run(tx, &tokens, |(place, (digest, (envelope, reports))), cells| {
            let (attempt, owner) = grants.get(digest).copied().unzip();
            put!(cells; *place, *digest, **envelope, attempt, owner, *reports);
        })
        .await
        .map(drop)
}

/// Replicas, and their receipts in packs.
pub(super) async fn replicas<B: Backend>(
    tx: &mut Transaction<'_, B>,
    batch: &Batch,
) -> Result<(), CommitError> {
    bulk!("replica", "insert")
        .run(tx, &batch.replicas, |row, cells| {
            put!(cells; row.job, row.task, row.segment, row.host, row.state.name(), row.report);
            put!(cells; row.position, row.lease, row.output, row.log, row.amount, row.final_after);
            put!(cells; row.near, row.relaxed);
        })
        .await?;
    bulk!("receipt_pack", "insert")
        .run(tx, &packs(&batch.replicas), |(report, job, pack), cells| {
            put!(cells; *report, *job, pack.first, pack.last, pack.packing, pack.bytes);
        })
        .await
        .map(drop)
}

/// The receipts of each job in each report. The engine lists them as they stand in the reports.
fn packs(replicas: &[ReplicaRow]) -> Vec<(Digest, JobId, Pack)> {
    let follows = |row: &ReplicaRow, next: &ReplicaRow| {
        (row.report, row.job) == (next.report, next.job) && row.position < next.position
    };
    let packed = |rows: &[ReplicaRow]| {
        let receipts: Vec<_> =
            rows.iter().map(|row| (row.position, row.receipt.as_slice())).collect();
        let (report, job) = (rows[0].report, rows[0].job);
        pack(&receipts).into_iter().map(move |pack| (report, job, pack))
    };
    replicas.chunk_by(follows).flat_map(|rows| packed(rows).collect::<Vec<_>>()).collect()
}
