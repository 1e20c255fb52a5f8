//! A host's call: heartbeats, void runs and reports first, then work, then waiting for some.

use std::collections::{BTreeMap, HashSet};

use tallymill_protocol::work::{Progress, VoidCause, VoidEntry};
use tallymill_protocol::{AttemptId, HostId};

use crate::api::{Ask, CheckedReport, Reply, Token, WorkAnswer};
use crate::lease::offer;
use crate::refusal::Refusal;
use crate::report::on_report;
use crate::rows::{FaultKind, SuspensionKind, VoidRow};
use crate::slots::{end_if_over, fail, lose_lease, reopen, take_back};
use crate::state::{Core, Fault, Live, Waiter};

/// Longest wait for something to say, µs: below two heartbeats, so that who waits counts as active, and below the minute
/// after which many proxies give up a silent connection.
const MAX_WAIT: u64 = 50_000_000;
/// How old the time may be at which a host was heard of, in its row, µs: each of thousands of hosts that wait would
/// otherwise be written with every call. Since its start the engine knows it exactly.
pub const NOTED: u64 = 600_000_000;
/// Most attempts to stop in one answer.
const MAX_STOP: usize = 1_024;
/// Most slots that count: more tasks than this never fit a lease.
const MAX_SLOTS: u32 = 8_192;

/// Decides a host's call. Without anything to say it waits, as long as the host asked.
pub fn on_work(
    core: &mut Core,
    (token, host_id): (Token, HostId),
    near: Option<[u8; 8]>,
    mut ask: Box<Ask>,
    reports: Vec<CheckedReport>,
) {
    if let Err(refusal) = hear(core, host_id, near) {
        return core.reply(token, Reply::Refused(refusal));
    }
    let answers = reports.into_iter().map(|report| on_report(core, host_id, report)).collect();
    let voids = std::mem::take(&mut ask.voids);
    voids.iter().for_each(|void| on_void(core, host_id, void));
    let progress = std::mem::take(&mut ask.progress);
    let unknown = on_progress(core, host_id, &progress);
    if let Some(held) = ask.held.take() {
        on_held(core, host_id, held.into_iter().chain(progress.iter().map(|entry| entry.attempt)));
    }
    ask.slots = ask.slots.min(MAX_SLOTS);
    let mut answer = answer(core, host_id, &ask);
    answer.answers = answers;
    answer.stop.extend(unknown);
    answer.stop.truncate(MAX_STOP);
    // A host that waits twice has given up the first call.
    if let Some(before) = leave(core, host_id) {
        core.reply(before.token, Reply::Work(WorkAnswer::default()));
    }
    if waits(core, &ask, &answer) {
        let until = core.now.plus(ask.wait.min(MAX_WAIT));
        core.waits.insert((until, host_id));
        core.waiting.insert(host_id, Waiter { token, ask, until });
    } else {
        core.reply(token, Reply::Work(answer));
    }
}

fn waits(core: &Core, ask: &Ask, answer: &WorkAnswer) -> bool {
    let silent = answer.answers.is_empty() && answer.grants.is_empty() && answer.stop.is_empty();
    silent && ask.wait > 0 && ask.buffer > 0 && core.waiting.len() < core.config.max_waiting
}

/// Notes that a host was heard of, and refuses those whose word does not count any more.
fn hear(core: &mut Core, host_id: HostId, near: Option<[u8; 8]>) -> Result<(), Refusal> {
    let host = core.hosts.get_mut(&host_id).ok_or(Refusal::UnknownHost(host_id))?;
    if let Some(at) = host.row.revoked_at {
        return Err(Refusal::Revoked { host: host_id, at });
    }
    if host.row.expiry <= core.now {
        return Err(Refusal::BindingEnded { host: host_id, expiry: host.row.expiry });
    }
    host.near = near;
    host.row.seen = core.now;
    if core.now.since(host.written) >= NOTED {
        host.written = core.now;
        core.out.hosts.insert(host_id);
    }
    Ok(())
}

/// Work and orders for a host as things stand.
fn answer(core: &mut Core, host_id: HostId, ask: &Ask) -> WorkAnswer {
    let stop = to_stop(core, host_id);
    let offer = offer(core, host_id, ask);
    WorkAnswer { answers: Vec::new(), grants: offer.grants, stop, reasons: offer.reasons }
}

fn to_stop(core: &Core, host_id: HostId) -> Vec<AttemptId> {
    let Some(host) = core.hosts.get(&host_id) else { return Vec::new() };
    let stopped = |attempt: &&AttemptId| core.leases.get(*attempt).is_some_and(|live| live.stop);
    host.leases.iter().filter(stopped).take(MAX_STOP).copied().collect()
}

/// Renews leases that move; attempts that are not in force are to be stopped.
fn on_progress(core: &mut Core, host_id: HostId, progress: &[Progress]) -> Vec<AttemptId> {
    let now = core.now;
    let entries: BTreeMap<AttemptId, u64> =
        progress.iter().map(|entry| (entry.attempt, entry.fuel)).collect();
    let mut moving = false;
    for (attempt, fuel) in &entries {
        // What a host says once it knows that it must stop is not evidence.
        if let Some(live) = held_by(core, host_id, *attempt).filter(|live| !live.stop) {
            live.hear(now, *fuel);
            moving |= live.moved == now;
        }
    }
    for attempt in entries.keys().filter(|_| moving) {
        held_by(core, host_id, *attempt).into_iter().for_each(|live| live.queue(now));
    }
    entries.into_keys().filter(|attempt| !renew(core, host_id, *attempt)).collect()
}

/// Takes back what a host does not hold: the answer that granted it was lost, or the host was. Others need not wait until it
/// lapses.
fn on_held(core: &mut Core, host_id: HostId, held: impl Iterator<Item = AttemptId>) {
    let held: HashSet<AttemptId> = held.collect();
    let Some(host) = core.hosts.get(&host_id) else { return };
    let lost: Vec<AttemptId> =
        host.leases.iter().filter(|attempt| !held.contains(attempt)).copied().collect();
    lost.into_iter().for_each(|attempt| lose_lease(core, attempt));
}

fn held_by(core: &mut Core, host_id: HostId, attempt: AttemptId) -> Option<&mut Live> {
    core.leases.get_mut(&attempt).filter(|live| live.row.host == host_id)
}

fn renew(core: &mut Core, host_id: HostId, attempt: AttemptId) -> bool {
    let Some(live) = core.leases.get_mut(&attempt).filter(|live| live.row.host == host_id) else {
        return false;
    };
    let left = live.row.expiry.since(core.now);
    if !live.stop && !live.is_stalled(core.now) && left <= live.term / 4 * 3 {
        core.expiries.remove(&(live.row.expiry, attempt));
        live.row.expiry = core.now.plus(live.term);
        core.expiries.insert((live.row.expiry, attempt));
        core.out.leases.insert(attempt, live.row.clone());
    }
    true
}

/// A run that says nothing about the guest: no vote and no pay. Several unrelated owners together fail the task.
fn on_void(core: &mut Core, host_id: HostId, entry: &VoidEntry) {
    let Some(live) = core.leases.get(&entry.attempt).filter(|live| live.row.host == host_id) else {
        return;
    };
    let (job_id, owner, task) = (live.row.job, live.row.owner, entry.task.0);
    if !take_back(core, job_id, task, entry.attempt) {
        return;
    }
    let cause = VoidCause::from_code(entry.cause);
    core.stirred = true;
    note_void(core, host_id, (job_id, owner), entry);
    match cause {
        VoidCause::Withdrawn => reopen(core, job_id, task, None),
        VoidCause::OwnerLimit => {
            reopen(core, job_id, task, Some(Fault { owner, kind: FaultKind::Declined }));
        }
        _ => count_void(core, (host_id, owner), (job_id, task), cause),
    }
    end_if_over(core, job_id);
}

fn note_void(
    core: &mut Core,
    host: HostId,
    (job, owner): (tallymill_protocol::JobId, tallymill_protocol::AccountId),
    entry: &VoidEntry,
) {
    core.counters.void += 1;
    let (id, at, detail) = (core.counters.void, core.now, entry.detail.0.clone());
    let declined = VoidCause::from_code(entry.cause) == VoidCause::OwnerLimit;
    let fault = if declined { FaultKind::Declined } else { FaultKind::Void };
    let (task, cause) = (entry.task, entry.cause);
    let row = VoidRow { id, job, task, host, owner, fault, cause, detail, at };
    core.out.batch.voids.push(row);
}

fn count_void(
    core: &mut Core,
    (host_id, owner): (HostId, tallymill_protocol::AccountId),
    (job_id, task): (tallymill_protocol::JobId, u32),
    cause: VoidCause,
) {
    if let Some(host) = core.hosts.get_mut(&host_id) {
        host.row.voided += 1;
        core.out.hosts.insert(host_id);
    }
    reopen(core, job_id, task, Some(Fault { owner, kind: FaultKind::Void }));
    let owners = core.config.void_owners;
    let slot = core.jobs.get(&job_id).filter(|job| job.is_running());
    let slot = slot.and_then(|job| job.slots.get(&task));
    if slot.is_some_and(|slot| slot.owners_at_fault(&[FaultKind::Void]) >= owners) {
        let cause = cause.phrase();
        fail(core, job_id, task, format!("{cause}: void runs on hosts of {owners} owners"));
    }
}

/// Takes a host off the waiting list.
fn leave(core: &mut Core, host_id: HostId) -> Option<Waiter> {
    let waiter = core.waiting.remove(&host_id)?;
    core.waits.remove(&(waiter.until, host_id));
    Some(waiter)
}

/// Answers waiting hosts for which there is something now, those that give up first before others.
pub fn on_dispatch(core: &mut Core) {
    if !std::mem::take(&mut core.stirred) {
        return;
    }
    let hosts: Vec<HostId> = core.waits.iter().map(|(_, host)| *host).collect();
    for host_id in hosts {
        let Some(waiter) = core.waiting.get_mut(&host_id) else { continue };
        let ask = std::mem::take(&mut waiter.ask);
        let answer = answer(core, host_id, &ask);
        if answer.grants.is_empty() && answer.stop.is_empty() {
            core.waiting.entry(host_id).and_modify(|waiter| waiter.ask = ask);
        } else if let Some(waiter) = leave(core, host_id) {
            core.reply(waiter.token, Reply::Work(answer));
        }
    }
}

/// Answers a host whose wait is over, with work or with the reasons.
pub fn on_wait_over(core: &mut Core, host_id: HostId) {
    let Some(waiter) = leave(core, host_id) else { return };
    let answer = answer(core, host_id, &waiter.ask);
    core.reply(waiter.token, Reply::Work(answer));
}

/// Tells a host that it works no more: its leases are stopped. A job's leases stop with the job.
pub fn stop_host(core: &mut Core, host_id: HostId) {
    let grace = core.now.plus(2 * core.config.heartbeat);
    let Some(host) = core.hosts.get(&host_id) else { return };
    let attempts: Vec<AttemptId> = host.leases.iter().copied().collect();
    attempts.into_iter().for_each(|attempt| crate::slots::stop_lease(core, attempt, grace));
}

/// Why a suspended host or owner gets nothing, when it is.
pub fn suspended(
    core: &Core,
    kind: SuspensionKind,
    subject: &[u8; 32],
    what: String,
) -> Result<(), Refusal> {
    match core.suspension(kind, subject) {
        Some(reason) => Err(Refusal::Suspended { what, reason: reason.to_owned() }),
        None => Ok(()),
    }
}
