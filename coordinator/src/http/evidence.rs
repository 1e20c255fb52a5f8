//! Evidence of a decided task: what a stranger needs to check signatures and Merkle path, and to run it again.

use tallymill_audit::{Evidence, TableProof};
use tallymill_engine::rows::{JobRow, ReplicaRow, ReplicaState};
use tallymill_protocol::{Digest, Inputs, Manifest, Signed, TableEntry, TaskIndex, merkle};

use super::problem::Problem;
use super::{App, unexpected};

/// Evidence of the result that stands for this task; of another paid one where none stands.
pub async fn of(app: &App, job: &JobRow, task: TaskIndex) -> Result<Evidence, Problem> {
    let undecided = || Problem::missing("decided task");
    let decided = app.store.task(job.id, task).await?.ok_or_else(undecided)?;
    let replicas = app.store.replicas(job.id, task).await?;
    let reported = replicas.iter().filter(|replica| replica.state != ReplicaState::Reported);
    let stands = |replica: &&ReplicaRow| decided.host == Some(replica.host);
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
    Ok(Evidence::of_parts(signed, replica.receipt.clone(), (replica.position, proof), entry))
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
