//! Cheap views of the hot state, for people who ask how far something is and why it waits.

use std::collections::BTreeSet;

use tallymill_ledger::{AccountKey, AccountKind, Amount, Book as _, reserve};
use tallymill_protocol::{AccountId, Digest, HostId, JobId, Manifest, Policy};

use crate::api::{JobView, NetworkView, Totals};
use crate::choose::job_suspended;
use crate::rows::{AccountRow, AccountStatus, JobState, SuspensionKind};
use crate::state::{Core, Host, Job, Live, tasks_of};

/// Most waiting tasks looked at for a reason.
const MAX_LOOKED_AT: usize = 1_024;

/// How far a job is.
pub const fn totals(job: &Job) -> Totals {
    let row = &job.row;
    Totals {
        tasks: row.tasks,
        finished: row.final_tasks,
        failed: row.failed_tasks,
        provisional: row.provisional_tasks,
        escrow: row.escrow,
        spent: row.spent,
        fuel: row.fuel,
    }
}

/// A live job. Counts what is open, never all tasks.
pub fn job(core: &Core, id: JobId) -> Option<JobView> {
    let job = core.jobs.get(&id)?;
    let leased = job.slots.values().filter(|slot| !slot.holders.is_empty()).count();
    let undecided = job.slots.values().filter(|slot| !slot.results.is_empty()).count();
    let untouched = job.row.tasks - job.cursor;
    let waiting = job.again.len();
    let why = why(core, job);
    let (state, totals, reserved) = (job.row.state, totals(job), job.reserved);
    Some(JobView { state, totals, reserved, leased, untouched, waiting, undecided, why })
}

/// Why tasks wait.
fn why(core: &Core, job: &Job) -> Vec<String> {
    if job.row.state == JobState::Stopping {
        return vec![format!("it is stopping: {} leases are still in force", job.leases)];
    }
    if job.cursor == job.row.tasks && job.again.is_empty() {
        return Vec::new();
    }
    let fitting = fitting(core, &job.manifest);
    let next = job.again.first().map_or(job.each, |task| job.most(*task));
    let budget = reserve(&job.budget(), next).err().map(|error| error.to_string());
    let few = few(&job.manifest, fitting.len());
    let used_up = few.is_none().then(|| {
        let task = job
            .again
            .iter()
            .take(MAX_LOOKED_AT)
            .find(|task| is_used_up(core, job, **task, &fitting))?;
        Some(format!(
            "task {task} needs a host of another owner: those online ran it or gave it up"
        ))
    });
    let busy = "waits for hosts with free slots".to_owned();
    let reasons = [job_suspended(core, job), budget, few, used_up.flatten()];
    let reasons: Vec<String> = reasons.into_iter().flatten().collect();
    if reasons.is_empty() { vec![busy] } else { reasons }
}

/// Why the owners that are online are too few for such a job, when they are.
pub fn too_few(core: &Core, manifest: &Manifest) -> Option<String> {
    few(manifest, fitting(core, manifest).len())
}

fn few(manifest: &Manifest, online: usize) -> Option<String> {
    let copies = manifest.policy.replicas();
    let lacks = online < copies as usize;
    lacks.then(|| match manifest.policy {
        Policy::Trusted => "needs a host of its payer: none is online".to_owned(),
        _ => format!("needs {copies} owners that are not its payer, {online} online"),
    })
}

/// Owners with a host online that may run tasks of such a job.
fn fitting(core: &Core, manifest: &Manifest) -> Vec<AccountId> {
    let own = |owner: &AccountId| [manifest.payer, manifest.submitter].contains(owner);
    let trusted = matches!(manifest.policy, Policy::Trusted);
    let hosts = core.hosts.values().filter(|host| core.is_active(host) && gets_leases(core, host));
    let owners: BTreeSet<AccountId> = hosts.map(|host| host.row.owner).collect();
    owners.into_iter().filter(|owner| own(owner) == trusted).collect()
}

/// Whether neither an operator nor the end of its binding keeps the host from leases.
fn gets_leases(core: &Core, host: &Host) -> bool {
    let row = &host.row;
    let active = |account: &AccountRow| account.status == AccountStatus::Active;
    row.expiry > core.now
        && core.accounts.get(&row.owner).is_some_and(active)
        && core.suspension(SuspensionKind::Host, &row.id.0).is_none()
        && core.suspension(SuspensionKind::Account, &row.owner.0).is_none()
}

/// Whether none of these owners may run a task any more.
fn is_used_up(core: &Core, job: &Job, task: u32, owners: &[AccountId]) -> bool {
    let Some(slot) = job.slots.get(&task) else { return false };
    let spent = |owner: &AccountId| {
        slot.voted(*owner) || slot.faults_of(*owner) >= core.config.owner_faults
    };
    owners.iter().all(spent)
}

/// Live jobs whose escrow does not cover what they reserved.
pub fn uncovered(core: &Core) -> Vec<(JobId, Amount, Amount)> {
    let account =
        |job| AccountKey { issuer: core.identity.coordinator, kind: AccountKind::Escrow { job } };
    let escrow = |job| core.balances.balance(&account(job));
    let jobs = core.jobs.iter().map(|(id, job)| (*id, escrow(*id), job.reserved));
    jobs.filter(|(_, escrow, reserved)| escrow < reserved).collect()
}

/// Whether a host may read what this digest names: a lease in force, and so a job, must need it.
pub fn needs_blob(core: &Core, host: HostId, digest: Digest) -> bool {
    let jobs = leased_jobs(core, host);
    let mut named = jobs.filter_map(|id| core.jobs.get(&id)).map(|job| &job.manifest);
    named.any(|manifest| manifest.blobs().any(|blob| blob == digest))
        || needs_snapshot(core, host, digest)
}

/// Whether a task that the host runs begins from this snapshot.
fn needs_snapshot(core: &Core, host: HostId, digest: Digest) -> bool {
    let begins = |live: &Live| {
        let Some(job) = core.jobs.get(&live.row.job) else { return false };
        let mut chains = job.starts(tasks_of(&live.row)).into_iter();
        chains.any(|start| start.snapshot == Some(digest))
    };
    leases(core, host).any(begins)
}

/// Whether a host has a lease of this job in force.
pub fn needs_job(core: &Core, host: HostId, job: JobId) -> bool {
    leased_jobs(core, host).any(|leased| leased == job)
}

fn leases(core: &Core, host: HostId) -> impl Iterator<Item = &Live> {
    let leases = core.hosts.get(&host).into_iter().flat_map(|host| &host.leases);
    leases.filter_map(|attempt| core.leases.get(attempt))
}

fn leased_jobs(core: &Core, host: HostId) -> impl Iterator<Item = JobId> {
    leases(core, host).map(|live| live.row.job)
}

fn owners(core: &Core) -> BTreeSet<AccountId> {
    let active = core.hosts.values().filter(|host| core.is_active(host));
    active.map(|host| host.row.owner).collect()
}

/// How the network stands.
pub fn network(core: &Core) -> NetworkView {
    NetworkView {
        accounts: core.accounts.len(),
        hosts: core.hosts.values().filter(|host| host.row.revoked_at.is_none()).count(),
        active: core.hosts.values().filter(|host| core.is_active(host)).count(),
        owners: owners(core).len(),
        waiting: core.waiting.len(),
        jobs: core.jobs.len(),
        leases: core.leases.len(),
    }
}
