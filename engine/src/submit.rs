//! Submission and cancellation: what a job must be, and the credit that is held for it.

use tallymill_ledger::{Amount, JobAccounts, RANGE_INPUT_MAX, cap, hold, most_per_result};
use tallymill_protocol::{AccountId, Inputs, JobId, Manifest, Policy, SignedBytes};

use crate::admin::{may_act, operator};
use crate::api::Reply;
use crate::chain::most_at_first;
use crate::money::post;
use crate::refusal::Refusal;
use crate::rows::{JobRow, JobState, PAGE_BYTES, PAGE_TASKS, SuspensionKind, UseRow};
use crate::slots::{queue_key, stop_job};
use crate::state::{Core, Job, times};
use crate::work::suspended;

/// Decides a submission. The same manifest again is the same job again, live or over.
pub fn on_submit(
    core: &mut Core,
    (manifest, envelope): (Box<Manifest>, SignedBytes),
    by: AccountId,
    (largest_input, stored): (u64, Option<(u64, Amount)>),
) -> Result<Reply, Refusal> {
    let id = Manifest::id_of(&envelope.payload.0);
    if by != manifest.submitter {
        return Err(Refusal::Forbidden { by, action: "submit this job", who: "its submitter" });
    }
    check_payer(core, &manifest, &envelope)?;
    if let Some(reply) = before(core, id, stored) {
        return Ok(reply);
    }
    check_manifest(core, &manifest)?;
    let live = core.payers.get(&manifest.payer).map_or(0, |payer| payer.live);
    if live >= core.config.max_jobs_per_account {
        let (what, limit) = ("live jobs of an account", core.config.max_jobs_per_account);
        return Err(Refusal::Limit { what, limit });
    }
    let longest = longest_input(&manifest, largest_input);
    let each = most_at_first(&manifest, longest)?;
    let most = cap(&manifest, longest)?;
    let escrow = most.min(Amount::try_from(manifest.budget).unwrap_or(Amount::MAX));
    let task = most_per_result(&manifest, longest, true)?;
    let needed = times(task, u32::from(manifest.policy.replicas()));
    if escrow < needed {
        return Err(Refusal::Budget { budget: escrow, needed });
    }
    let accounts = accounts_of(core, id, &manifest);
    let (held, transfers) = hold(&core.balances, &accounts, most, manifest.budget)?;
    for transfer in transfers {
        post(core, transfer)?;
    }
    core.counters.job += 1;
    let row = JobRow {
        number: core.counters.job,
        largest_input: longest,
        escrow,
        held_granted: held.granted,
        submitted: core.now,
        ..row_of(core, id, &manifest, envelope)
    };
    let reply = submitted(&row);
    let needs = |digest| UseRow { digest, job: id };
    core.out.batch.uses.extend(manifest.blobs().map(needs));
    insert(core, new_job(row, manifest, accounts, each));
    core.out.jobs.insert(id);
    core.stirred = true;
    Ok(reply)
}

/// The answer about a job that was taken before; one that has just ended may have ended after the caller looked for it.
fn before(core: &Core, job: JobId, stored: Option<(u64, Amount)>) -> Option<Reply> {
    let live = core.jobs.get(&job).map(|job| (job.row.number, job.row.escrow));
    let (number, escrow) = live.or_else(|| core.ended.get(&job)).or(stored)?;
    Some(Reply::Submitted { job, number, escrow })
}

fn submitted(row: &JobRow) -> Reply {
    Reply::Submitted { job: row.id, number: row.number, escrow: row.escrow }
}

/// The longest input that a result of the job is paid for, bytes.
const fn longest_input(manifest: &Manifest, largest_input: u64) -> u64 {
    match manifest.inputs {
        Inputs::Range { .. } => RANGE_INPUT_MAX,
        Inputs::Table { .. } => largest_input,
    }
}

pub const fn accounts_of(core: &Core, job: JobId, manifest: &Manifest) -> JobAccounts {
    JobAccounts { issuer: core.identity.coordinator, job, payer: manifest.payer }
}

fn check_manifest(core: &Core, manifest: &Manifest) -> Result<(), Refusal> {
    manifest.validate()?;
    let field = |field, rule: &str| Err(Refusal::Field { field, rule: rule.to_owned() });
    if manifest.network != core.identity.network {
        let (expected, found) = (core.identity.network.to_string(), manifest.network.to_string());
        return Err(Refusal::Network { expected, found });
    }
    if !manifest.coordinators.0.contains(&core.identity.coordinator) {
        return Err(Refusal::Coordinator(core.identity.coordinator));
    }
    if manifest.payer != manifest.submitter {
        return field("payer", "must be the submitter: paying for others is not offered yet");
    }
    if manifest.deadline <= core.now {
        return field("deadline", "must be in the future");
    }
    match manifest.policy {
        Policy::Audit { .. } => Err(Refusal::Policy { policy: "audit" }),
        Policy::SelfCheck { .. } => Err(Refusal::Policy { policy: "self-check" }),
        Policy::Trusted | Policy::Quorum { .. } => Ok(()),
    }
}

fn check_payer(core: &Core, manifest: &Manifest, envelope: &SignedBytes) -> Result<(), Refusal> {
    may_act(core, manifest.submitter, envelope)?;
    let module = format!("module {}", manifest.module.short());
    suspended(core, SuspensionKind::Module, &manifest.module.0, module)?;
    let id = Manifest::id_of(&envelope.payload.0);
    suspended(core, SuspensionKind::Job, &id.0, format!("job {}", id.short()))
}

fn row_of(core: &Core, id: JobId, manifest: &Manifest, envelope: SignedBytes) -> JobRow {
    JobRow {
        id,
        // Shards are the first six bits of the id: 64 of them.
        shard: id.0[0] >> 2,
        epoch: core.epoch,
        number: 0,
        payer: manifest.payer,
        submitter: manifest.submitter,
        module: manifest.module,
        title: manifest.title.0.clone(),
        envelope,
        state: JobState::Running,
        tasks: manifest.inputs.count(),
        final_tasks: 0,
        failed_tasks: 0,
        provisional_tasks: 0,
        largest_input: 0,
        escrow: Amount::ZERO,
        held_granted: Amount::ZERO,
        spent: Amount::ZERO,
        fuel: 0,
        submitted: core.now,
        finished: None,
        deadline: manifest.deadline,
        held: false,
        collecting: None,
    }
}

/// A job with all its tasks pending.
pub fn new_job(row: JobRow, manifest: Box<Manifest>, accounts: JobAccounts, each: Amount) -> Job {
    let pages = row.tasks.div_ceil(PAGE_TASKS) as usize;
    Job {
        row,
        manifest,
        accounts,
        each,
        states: vec![0; pages * PAGE_BYTES],
        dirty_pages: Default::default(),
        cursor: 0,
        again: Default::default(),
        slots: Default::default(),
        reserved: Amount::ZERO,
        leases: 0,
        end: JobState::Cancelled,
        time: 0,
        fuel: 0,
        per_slot: 1,
        compiled: Default::default(),
        earned: Default::default(),
    }
}

/// Puts a live job where leases find it.
pub fn insert(core: &mut Core, job: Job) {
    let payer = core.payers.entry(job.row.payer).or_default();
    payer.live += 1;
    if payer.halved.0 == 0 {
        payer.halved = core.now;
    }
    if job.is_running() {
        payer.queue.insert(queue_key(&job));
        core.deadlines.insert((job.row.deadline, job.row.id));
    }
    core.jobs.insert(job.row.id, job);
}

/// Stops a job for its payer, its submitter or an operator.
pub fn on_cancel(
    core: &mut Core,
    (job_id, by): (JobId, AccountId),
    why: &str,
) -> Result<Reply, Refusal> {
    let job = core.jobs.get(&job_id).ok_or(Refusal::UnknownJob(job_id))?;
    let own = by == job.row.payer || by == job.row.submitter;
    if !own {
        let who = "its payer, its submitter and operators";
        operator(core, by).map_err(|_| Refusal::Forbidden {
            by,
            action: "cancel this job",
            who,
        })?;
        crate::admin::note(core, by, ("cancel", job_id.to_string(), why.to_owned()));
    }
    stop_job(core, job_id, JobState::Cancelled);
    Ok(Reply::Done { subject: job_id.0.to_vec() })
}
