//! Evidence of a decided task: what a stranger needs to check signatures and Merkle path, and to run it again.

use tallymill_audit::{Evidence, TableProof};
use tallymill_engine::rows::{JobRow, ReplicaRow, ReplicaState, SegmentRow};
use tallymill_protocol::{
    Digest, HostId, Inputs, KeyChain, Manifest, Signed, TableEntry, TaskIndex, Visibility, merkle,
};
use tallymill_storage::Page;

use super::auth::Caller;
use super::problem::Problem;
use super::{App, unexpected};
use crate::blobs::Reader;

/// Statements about keys that are read at a time.
const KEYS: u32 = 256;

/// Evidence of the result that stands for this task; of another paid one where none stands. Of a long task it is about the
/// segment asked for, else the one that decided it.
pub async fn of(
    app: &App,
    job: &JobRow,
    task: TaskIndex,
    segment: Option<u32>,
) -> Result<Evidence, Problem> {
    let (segment, host) = standing(app, job, task, segment).await?;
    let replicas = app.store.replicas(job.id, task).await?;
    let reported = replicas
        .iter()
        .filter(|replica| replica.segment == segment && replica.state != ReplicaState::Reported);
    let stands = |replica: &&ReplicaRow| host == Some(replica.host);
    let replica = reported.clone().find(stands).or_else(|| reported.clone().next());
    let replica = replica.ok_or_else(|| Problem::missing("receipt"))?;
    let report = app.store.report(replica.report).await?.ok_or_else(unexpected)?;
    let lease = report.leases.iter().find(|(digest, _)| *digest == replica.lease);
    let (_, lease) = lease.ok_or_else(unexpected)?;
    let manifest: Signed<Manifest> = Signed::new(job.envelope.clone());
    let entry = entry(app, &manifest, task).await?;
    let at = usize::try_from(replica.position).map_err(|_| unexpected())?;
    let proof: Vec<Digest> = merkle::range_proof(&report.leaves, at, at + 1);
    let signed = (manifest, Signed::new(lease.clone()), Signed::new(report.envelope.clone()));
    let proof = (replica.position, proof);
    let before = match segment.checked_sub(1) {
        Some(before) => Some(agreed(app, job, task, before).await?.snapshot),
        None => None,
    };
    let evidence = Evidence::of_parts(signed, replica.receipt.clone(), proof, entry);
    Ok(evidence.from_snapshot(before).with_keys(keys(app, job).await?))
}

/// The statements that lead from the submitter's first key to the one that signed the manifest.
pub async fn keys(app: &App, job: &JobRow) -> Result<KeyChain, Problem> {
    let (account, signer) = (job.submitter, job.envelope.signer);
    if signer == account.into() {
        return Ok(KeyChain::default());
    }
    let mut chain = KeyChain::default();
    let mut after = None;
    loop {
        let rows = app.store.keys(account, Page { after, limit: KEYS }).await?;
        after = rows.last().map(|row| row.id);
        if rows.is_empty() {
            break;
        }
        for row in rows {
            match row.kind {
                "account" => chain.account = Some(Signed::new(row.envelope)),
                "rotation" => chain.rotations.0.push(Signed::new(row.envelope)),
                _ => {}
            }
        }
    }
    let chain = chain.up_to(account, &signer).map_err(|_| unexpected())?;
    chain.ok_or_else(unexpected)
}

/// The segment that evidence is about, and the host whose result of it stands.
async fn standing(
    app: &App,
    job: &JobRow,
    task: TaskIndex,
    segment: Option<u32>,
) -> Result<(u32, Option<HostId>), Problem> {
    let decided = app.store.task(job.id, task).await?;
    match (decided, segment) {
        (Some(decided), None) => Ok((decided.segment, decided.host)),
        (Some(decided), Some(asked)) if asked == decided.segment => Ok((asked, decided.host)),
        (_, Some(asked)) => Ok((asked, Some(agreed(app, job, task, asked).await?.host))),
        (None, None) => Err(Problem::missing("decided task")),
    }
}

/// A segment on which hosts agreed and after which there was more to do.
async fn agreed(
    app: &App,
    job: &JobRow,
    task: TaskIndex,
    segment: u32,
) -> Result<SegmentRow, Problem> {
    let page = Page { after: segment.checked_sub(1), limit: 1 };
    let found = app.store.segments(job.id, task, page).await?.pop();
    found
        .filter(|found| found.segment == segment)
        .ok_or_else(|| Problem::missing("segment on which hosts agreed"))
}

/// Lets the caller read the snapshot that evidence names: who may read a job's results may run them again.
pub async fn share(app: &App, evidence: &Evidence, caller: &Caller) -> Result<(), Problem> {
    let Some(snapshot) = evidence.snapshot else { return Ok(()) };
    let manifest = evidence.manifest.peek().map_err(|_| unexpected())?;
    // Beside a claim, or the note could outlive a blob that goes at this moment.
    let _claimed = app.claims.claim(snapshot).await?;
    let reader = match (manifest.visibility, caller.account) {
        (Visibility::Public, _) => Reader::Everybody,
        (_, Some(account)) => Reader::Account(account),
        (_, None) => return Ok(()),
    };
    Ok(app.blobs.share(snapshot, reader).await?)
}

/// The task's entry in its job's input table, with its proof; nothing for range jobs.
async fn entry(
    app: &App,
    manifest: &Signed<Manifest>,
    task: TaskIndex,
) -> Result<Option<TableProof>, Problem> {
    let manifest = manifest.peek().map_err(|_| unexpected())?;
    let Inputs::Table { count, blob, .. } = manifest.inputs else { return Ok(None) };
    let leaves = super::work::leaves(app, blob, count).await?;
    let at = usize::try_from(task.0).map_err(|_| unexpected())?;
    let size = TableEntry::SIZE as u64;
    let entry = app.blobs.read(blob, u64::from(task.0) * size, size).await?;
    let entry = entry.ok_or_else(|| Problem::missing("input table"))?;
    Ok(Some(TableProof { entry, proof: merkle::range_proof(&leaves, at, at + 1) }))
}
