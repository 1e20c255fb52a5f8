//! Slots: who runs a task, when it is decided, and how a job ends.

use tallymill_ledger::Payee;
use tallymill_protocol::work::{MAX_INLINE, VoidCause};
use tallymill_protocol::{AttemptId, HostId, JobId, Micros, Outcome, TaskIndex};

use crate::chain::advance;
use crate::rows::{ChargeRow, FaultKind, JobState, ReplicaState, TaskRow, TaskState, VoidRow};
use crate::state::{Core, Earned, Fault, Job, Slot, Vote, add, less, tasks_of};

/// Takes `task` back from the lease `attempt`; false when it did not hold it. The lease ends with its last task.
pub fn release(core: &mut Core, job_id: JobId, task: u32, attempt: AttemptId) -> bool {
    let Some(job) = core.jobs.get_mut(&job_id) else { return false };
    let Some(slot) = job.slots.get_mut(&task) else { return false };
    let Some(at) = slot.holders.iter().position(|holder| holder.attempt == attempt) else {
        return false;
    };
    let holder = slot.holders.swap_remove(at);
    job.reserved = less(job.reserved, holder.reserved);
    let payer = job.row.payer;
    let Some(live) = core.leases.get_mut(&attempt) else { return true };
    live.open = live.open.saturating_sub(1);
    if let Some(payer) = core.payers.get_mut(&payer) {
        payer.in_flight = payer.in_flight.saturating_sub(live.weight);
    }
    if live.open == 0 {
        close_lease(core, attempt);
    }
    true
}

/// Takes `task` back as [`release`] does where no waiting result and no decision tells of it: its lease's row does, so that
/// a start does not give it to that lease again while somebody else has it.
pub fn take_back(core: &mut Core, job_id: JobId, task: u32, attempt: AttemptId) -> bool {
    if !release(core, job_id, task, attempt) {
        return false;
    }
    if let Some(live) = core.leases.get_mut(&attempt) {
        live.row.given_back.push(TaskIndex(task));
        let row = core.out.leases.entry(attempt).or_insert_with(|| live.row.clone());
        row.given_back.clone_from(&live.row.given_back);
    }
    true
}

fn close_lease(core: &mut Core, attempt: AttemptId) {
    let Some(live) = core.leases.remove(&attempt) else { return };
    core.expiries.remove(&(live.row.expiry, attempt));
    if let Some(host) = core.hosts.get_mut(&live.row.host) {
        host.leases.remove(&attempt);
    }
    if let Some(job) = core.jobs.get_mut(&live.row.job) {
        job.leases -= 1;
    }
    core.out.leases.remove(&attempt);
    core.out.batch.closed_leases.push(attempt);
}

/// A lease is over: its open tasks go to others, and too many lapses fail a task.
pub fn lapse(core: &mut Core, attempt: AttemptId) {
    let Some(live) = core.leases.get(&attempt) else { return };
    let (job_id, host_id, told) = (live.row.job, live.row.host, live.stop);
    let fault = (!told).then_some(Fault { owner: live.row.owner, kind: FaultKind::Lapsed });
    let tasks: Vec<u32> = tasks_of(&live.row).collect();
    let released: Vec<u32> =
        tasks.into_iter().filter(|task| release(core, job_id, *task, attempt)).collect();
    // Nothing of it is open now; a lease that held nothing ends here.
    close_lease(core, attempt);
    if !told && let Some(host) = core.hosts.get_mut(&host_id) {
        host.row.abandoned += released.len() as u64;
        core.out.hosts.insert(host_id);
    }
    for task in released {
        if let Some(fault) = fault {
            note_fault(core, (job_id, task, host_id), fault, String::new());
        }
        reopen(core, job_id, task, fault);
    }
    core.stirred = true;
    end_if_over(core, job_id);
}

/// Keeps a lapse or a refused receipt, so that a start counts it too; what counts no more is not kept.
pub fn note_fault(
    core: &mut Core,
    (job_id, task, host): (JobId, u32, HostId),
    Fault { owner, kind: fault }: Fault,
    detail: String,
) {
    let most = core.config.owner_faults;
    let job = core.jobs.get(&job_id).filter(|job| job.is_running());
    let slot = job.and_then(|job| job.slots.get(&task));
    if slot.is_none_or(|slot| slot.faults_of(owner) >= most) {
        return;
    }
    core.counters.void += 1;
    let (id, at, cause) = (core.counters.void, core.now, VoidCause::Other as u8);
    let (job, task) = (job_id, TaskIndex(task));
    core.out.batch.voids.push(VoidRow { id, job, task, host, owner, fault, cause, detail, at });
}

/// Takes back a lease that never reached its host.
pub fn return_lease(core: &mut Core, attempt: AttemptId) {
    if let Some(live) = core.leases.get_mut(&attempt) {
        live.stop = true;
        lapse(core, attempt);
    }
}

/// Takes back a lease that its host says it does not hold: it lapses at once. One from before this engine was loaded is
/// nobody's fault, since the coordinator may have ended before the grant left.
pub fn lose_lease(core: &mut Core, attempt: AttemptId) {
    let ours = core.leases.get(&attempt).is_some_and(|live| live.row.issued > core.started);
    if ours { lapse(core, attempt) } else { return_lease(core, attempt) }
}

/// Gives a task that was taken back to others; `fault` when that was its host's doing. Only faults of several owners fail a
/// task, so that no host alone can fail those of others; a trusted task has one owner only.
pub fn reopen(core: &mut Core, job_id: JobId, task: u32, fault: Option<Fault>) {
    let (owners, each) = (core.config.lapse_owners, core.config.owner_faults);
    let now = core.now;
    let Some(job) = core.jobs.get_mut(&job_id) else { return };
    let (running, trusted) = (job.is_running(), job.is_trusted());
    let Some(slot) = job.slots.get_mut(&task) else { return };
    if let Some(fault) = fault.filter(|fault| slot.faults_of(fault.owner) < each) {
        slot.faults.push(fault);
    }
    let (faults, lapsed) =
        (slot.faults.len(), slot.owners_at_fault(&[FaultKind::Lapsed, FaultKind::Refused]));
    if running && lapsed >= owners {
        fail(core, job_id, task, format!("abandoned: hosts of {lapsed} owners gave no result"));
    } else if running && trusted && faults >= each {
        fail(core, job_id, task, format!("abandoned: {faults} runs on own hosts gave no result"));
    } else {
        job.refresh(task, now);
    }
}

/// Decides `task` when enough results agree, or too many disagree.
pub fn decide_if_agreed(core: &mut Core, job_id: JobId, task: u32) -> bool {
    let most = usize::from(core.config.max_attempts);
    let Some(job) = core.jobs.get(&job_id) else { return false };
    let Some(slot) = job.slots.get(&task) else { return false };
    let copies = job.copies();
    let results = slot.results.len();
    if slot.best() >= copies {
        settle(core, job_id, task, copies);
        return true;
    }
    if results >= most.max(copies + 1) {
        fail(
            core,
            job_id,
            task,
            format!("results disagree: {results} results, {copies} must agree"),
        );
        return true;
    }
    if let Some(job) = core.jobs.get_mut(&job_id) {
        job.refresh(task, core.now);
    }
    core.stirred = true;
    false
}

/// Ends a task, or a segment of it, with the result on which `copies` hosts agree: they are paid, the others are not.
fn settle(core: &mut Core, job_id: JobId, task: u32, copies: usize) {
    let Some(winner) = winner(core, job_id, task, copies) else { return };
    let paused = winner.outcome == Outcome::Paused;
    let slot = match paused {
        true => advance(core, job_id, task, &winner),
        false => clear(core, job_id, task),
    };
    let Some(slot) = slot else { return };
    charge(core, job_id, &slot, &winner);
    for vote in &slot.results {
        let wins = vote.agrees_with(&winner);
        pay(core, job_id, task, (vote, wins.then_some(ReplicaState::Final)));
        credit_standing(core, job_id, vote, wins);
    }
    if paused {
        core.out.jobs.insert(job_id);
        return go_on(core, job_id, task);
    }
    let success = winner.outcome.is_success();
    let row = TaskRow {
        segment: winner.index(),
        host: Some(winner.host),
        cause: (!success).then(|| winner.outcome.to_string()),
        outcome: Some(winner.outcome),
        fuel: Some(winner.segment.map_or(winner.fuel, |segment| segment.fuel_after)),
        output: Some(winner.output),
        output_bytes: Some(winner.output_bytes),
        ..undecided(job_id, task, if success { TaskState::Final } else { TaskState::Failed })
    };
    record(core, row);
}

/// A result that stands is its payer's: where it is a blob, its bytes count for the payer's room, no longer for that of a
/// host's owner.
fn charge(core: &mut Core, job_id: JobId, slot: &Slot, winner: &Vote) {
    let Some(job) = core.jobs.get(&job_id) else { return };
    if winner.outcome != Outcome::Paused && winner.output_bytes <= MAX_INLINE as u64 {
        return;
    }
    let (digest, to) = (winner.output, job.row.payer);
    let owners = slot.results.iter().filter(|vote| vote.agrees_with(winner));
    let charges = owners.map(|vote| ChargeRow { digest, from: vote.owner, to });
    core.out.batch.charges.extend(charges.filter(|row| row.from != row.to));
}

/// A result on which enough hosts agree.
fn winner(core: &Core, job: JobId, task: u32, copies: usize) -> Option<Vote> {
    let slot = core.jobs.get(&job)?.slots.get(&task)?;
    let agreed = |vote: &Vote| slot.results.iter().filter(|one| one.agrees_with(vote)).count();
    slot.results.iter().find(|vote| agreed(vote) >= copies).copied()
}

/// The next segment of a task waits for a host.
fn go_on(core: &mut Core, job_id: JobId, task: u32) {
    let now = core.now;
    if let Some(job) = core.jobs.get_mut(&job_id) {
        job.refresh(task, now);
    }
    core.stirred = true;
}

/// Ends a task without a result.
pub fn fail(core: &mut Core, job_id: JobId, task: u32, cause: String) {
    let Some(slot) = clear(core, job_id, task) else { return };
    for vote in &slot.results {
        pay(core, job_id, task, (vote, None));
    }
    let segment = slot.chain().index;
    let row = undecided(job_id, task, TaskState::Failed);
    record(core, TaskRow { segment, cause: Some(cause), ..row });
}

const fn undecided(job: JobId, task: u32, state: TaskState) -> TaskRow {
    TaskRow {
        job,
        task: TaskIndex(task),
        segment: 0,
        sequence: 0,
        state,
        host: None,
        cause: None,
        outcome: None,
        fuel: None,
        output: None,
        output_bytes: None,
        at: Micros(0),
    }
}

/// Takes the slot away, and the task from every lease that still runs it.
fn clear(core: &mut Core, job_id: JobId, task: u32) -> Option<Slot> {
    let holders = core.jobs.get(&job_id)?.slots.get(&task)?.holders.clone();
    for holder in holders {
        release(core, job_id, task, holder.attempt);
    }
    let job = core.jobs.get_mut(&job_id)?;
    job.again.remove(&task);
    job.slots.remove(&task)
}

/// Moves a waiting result on: paid in the given state, or lost. What it reserved is free either way.
fn pay(core: &mut Core, job_id: JobId, task: u32, (vote, paid): (&Vote, Option<ReplicaState>)) {
    let Some(job) = core.jobs.get_mut(&job_id) else { return };
    job.reserved = less(job.reserved, vote.amount);
    if paid.is_some() {
        let payee = Payee { host: vote.host, owner: vote.owner };
        earn(job, payee, ((task, vote.index()), vote.amount, vote.leaf));
        core.out.told.insert(vote.owner);
    }
    let state = paid.unwrap_or(ReplicaState::Lost);
    core.out.move_replica(job_id, (TaskIndex(task), vote.index()), vote.host, state);
}

/// Books a price for the transfer that this batch ends with.
pub fn earn(job: &mut Job, payee: Payee, result: Earned) {
    job.row.spent = add(job.row.spent, result.1);
    job.earned.entry(payee).or_default().push(result);
}

/// Only work for others that chance gave to the host counts for its standing.
fn credit_standing(core: &mut Core, job_id: JobId, vote: &Vote, wins: bool) {
    let Some(job) = core.jobs.get(&job_id) else { return };
    let related = job.is_trusted() || [job.row.payer, job.row.submitter].contains(&vote.owner);
    let Some(host) = core.hosts.get_mut(&vote.host).filter(|_| !related) else { return };
    if wins {
        host.row.settled += 1;
        host.row.fuel = host.row.fuel.saturating_add(vote.fuel);
    } else {
        host.row.outvoted += 1;
    }
    core.out.hosts.insert(vote.host);
}

fn record(core: &mut Core, row: TaskRow) {
    let Some(job) = core.jobs.get_mut(&row.job) else { return };
    let (bits, total) = match row.state {
        TaskState::Provisional => (1, &mut job.row.provisional_tasks),
        TaskState::Final => (2, &mut job.row.final_tasks),
        TaskState::Failed => (3, &mut job.row.failed_tasks),
    };
    *total += 1;
    job.row.fuel = job.row.fuel.saturating_add(row.fuel.unwrap_or(0));
    job.set_state(row.task.0, bits);
    core.out.jobs.insert(row.job);
    core.counters.task += 1;
    let job_id = row.job;
    core.out.batch.tasks.push(TaskRow { sequence: core.counters.task, at: core.now, ..row });
    end_if_over(core, job_id);
}

/// No new leases for the job from now on; when the last one in force is over it is what `end` says.
pub fn stop_job(core: &mut Core, job_id: JobId, end: JobState) {
    let grace = core.now.plus(2 * core.config.heartbeat);
    let Some(job) = core.jobs.get_mut(&job_id).filter(|job| job.is_running()) else { return };
    job.row.state = JobState::Stopping;
    job.end = end;
    job.again.clear();
    let queued = queue_key(job);
    if let Some(payer) = core.payers.get_mut(&job.row.payer) {
        payer.queue.remove(&queued);
    }
    core.deadlines.remove(&(job.row.deadline, job_id));
    core.out.jobs.insert(job_id);
    let of_job = core.leases.iter().filter(|(_, live)| live.row.job == job_id);
    let attempts: Vec<AttemptId> = of_job.map(|(attempt, _)| *attempt).collect();
    attempts.into_iter().for_each(|attempt| stop_lease(core, attempt, grace));
    end_if_over(core, job_id);
}

/// Where a job stands in its payer's queue.
pub const fn queue_key(job: &Job) -> (u8, u64, JobId) {
    (
        9 - if job.manifest.priority > 9 { 9 } else { job.manifest.priority },
        job.row.number,
        job.row.id,
    )
}

/// Tells a lease's host to stop it, and waits until `grace` at most for what it still reports.
pub fn stop_lease(core: &mut Core, attempt: AttemptId, grace: Micros) {
    let Some(live) = core.leases.get_mut(&attempt) else { return };
    live.stop = true;
    core.stirred = true;
    let expiry = live.row.expiry.min(grace);
    core.expiries.remove(&(live.row.expiry, attempt));
    core.expiries.insert((expiry, attempt));
    live.row.expiry = expiry;
    core.out.leases.insert(attempt, live.row.clone());
}

/// Ends a job whose last task is decided, or that is stopping and has no lease in force.
pub fn end_if_over(core: &mut Core, job_id: JobId) {
    let Some(job) = core.jobs.get(&job_id) else { return };
    let end = match job.row.state {
        JobState::Running if job.decided() == job.row.tasks => JobState::Finished,
        JobState::Stopping if job.decided() == job.row.tasks => JobState::Finished,
        JobState::Stopping if job.leases == 0 => job.end,
        _ => return,
    };
    pay_undecided(core, job_id);
    let Some(job) = core.jobs.get_mut(&job_id) else { return };
    job.row.state = end;
    job.row.finished = Some(core.now);
    let (queued, deadline) = (queue_key(job), job.row.deadline);
    if let Some(payer) = core.payers.get_mut(&job.row.payer) {
        payer.queue.remove(&queued);
        payer.live = payer.live.saturating_sub(1);
    }
    core.deadlines.remove(&(deadline, job_id));
    core.out.jobs.insert(job_id);
    core.out.closing.insert(job_id);
}

/// A job that stops pays for what ran, also for results that waited for others.
fn pay_undecided(core: &mut Core, job_id: JobId) {
    let Some(job) = core.jobs.get_mut(&job_id) else { return };
    let slots = std::mem::take(&mut job.slots);
    for (task, slot) in &slots {
        for vote in &slot.results {
            pay(core, job_id, *task, (vote, Some(ReplicaState::Stopped)));
        }
    }
}
