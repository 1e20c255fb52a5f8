//! Leases: how much work a host gets, of which job, and the reason when it gets none.
//!
//! Payers take turns, job by job: first the one with the least fuel in flight and used lately; of one payer's jobs higher
//! priority comes first, then the older. A lease lasts max(200 ms, 3 × round trip, active hosts ÷ 500 s), at most what the host likes to buffer, so that
//! all hosts together report about 500 times a second whatever their number.

use tallymill_ledger::{Amount, reserve};
use tallymill_protocol::{HostId, JobId, Lease, MAX_LEASE_TASKS, Micros, TaskIndex};

use crate::api::{Ask, Granted};
use crate::choose::{Hosting, Unfit, host_refused, job_refused, payers_in_turn, suits};
use crate::rows::LeaseRow;
use crate::state::{Core, Holder, Job, Live, Slot, add, less, times};

/// Most leases in one answer.
const MAX_GRANTS: usize = 16;
/// Most jobs looked at closely for one call: those whose rules let the host run them.
const MAX_JOBS: usize = 512;
/// Most jobs looked at for one call.
const MAX_LOOKED_AT: usize = 8_192;
/// Most waiting tasks looked at for one lease.
const MAX_SCAN: usize = 16_384;
/// Most reasons in one answer.
const MAX_REASONS: usize = 16;
/// Shortest lease, µs.
const SHORTEST: u64 = 200_000;
/// Largest buffer that is believed, µs: a host cannot hold more than ten minutes of others' work.
const LONGEST: u64 = 600 * Micros::SECOND;
/// Longest round trip that is believed, µs.
const SLOWEST: u64 = 10 * Micros::SECOND;
/// Time of one lease per active host, µs: 500 reports a second.
const PER_HOST: u64 = 2_000;
/// Least time before a lease lapses, µs.
const LEAST_TERM: u64 = 30 * Micros::SECOND;
/// Longest time before a lease that is not renewed lapses, µs: ten times the work that a host may hold.
pub const LONGEST_TERM: u64 = 10 * LONGEST;
/// How long heartbeats alone renew a lease, µs, at least: one hour.
const PATIENCE: u64 = 3_600 * Micros::SECOND;
/// The same in terms of the lease, for those that are renewed rarely.
const PATIENT_TERMS: u64 = 10;
/// Tasks per slot in a job's first leases, how many such leases a host holds at once (one runs while the report of the other is
/// under way), and how much a lease may grow over the longest before.
const PROBE: u32 = 4;
const PROBES: usize = 2;
const GROWTH: u32 = 8;

/// How long a lease is renewed after its host last told of progress, µs: a run that hangs does not keep its tasks for ever.
pub const fn patience(term: u64) -> u64 {
    let terms = term.saturating_mul(PATIENT_TERMS);
    if terms > PATIENCE { terms } else { PATIENCE }
}

/// What is granted to one call.
#[derive(Debug, Default)]
pub struct Offer {
    pub grants: Vec<Granted>,
    pub reasons: Vec<String>,
}

impl Offer {
    fn explain(&mut self, reason: String) {
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(reason);
        }
    }
}

/// Grants `host` what it asks, as far as there is work for it.
pub fn offer(core: &mut Core, host_id: HostId, ask: &Ask) -> Offer {
    let mut offer = Offer::default();
    if let Some(reason) = host_refused(core, host_id, ask) {
        offer.reasons.push(reason);
        return offer;
    }
    let Some(hosting) = Hosting::of(core, host_id, ask) else { return offer };
    let Some(mut room) = room_of(core, &hosting) else {
        offer.reasons.push("the buffer is full".to_owned());
        return offer;
    };
    let mut close = 0;
    for job_id in payers_in_turn(core, MAX_LOOKED_AT) {
        if close == MAX_JOBS || room.is_full() || offer.grants.len() == MAX_GRANTS {
            break;
        }
        if let Err(reason) = job_refused(core, &hosting, job_id) {
            offer.explain(reason);
            continue;
        }
        close += 1;
        // A lease of a long task is over one task, so such a job may give several.
        while !room.is_full() && offer.grants.len() < MAX_GRANTS {
            match offer_job(core, &hosting, job_id, &mut room) {
                Ok(granted) => {
                    let again = granted.as_ref().is_some_and(|it| !it.states.is_empty());
                    offer.grants.extend(granted);
                    if again {
                        continue;
                    }
                }
                Err(reason) => offer.explain(reason),
            }
            break;
        }
    }
    if offer.grants.is_empty() && offer.reasons.is_empty() {
        offer.reasons.push("no job has tasks that wait".to_owned());
    }
    offer
}

/// What a host still takes: time on all its slots, and slots that stand idle whatever a task takes.
struct Room {
    /// µs of CPU.
    time: u64,
    /// Slots with nothing to run.
    idle: u32,
    /// µs of CPU that are in its buffer.
    held: u64,
}

impl Room {
    const fn is_full(&self) -> bool {
        self.time == 0 && self.idle == 0
    }
}

fn room_of(core: &mut Core, hosting: &Hosting<'_>) -> Option<Room> {
    let (slots, buffer) = (u64::from(hosting.ask.slots), hosting.ask.buffer.min(LONGEST));
    let active = core.active_hosts() as u64;
    let asked = SHORTEST.max(3 * hosting.ask.round_trip.min(SLOWEST)).max(active * PER_HOST);
    let (mut held, mut tasks) = (0u64, 0u32);
    for attempt in &core.hosts.get(&hosting.host)?.leases {
        let Some(live) = core.leases.get(attempt) else { continue };
        let time = core.jobs.get(&live.row.job).map_or(0, |job| job.time);
        let time = u64::from(live.open).saturating_mul(time >> 10);
        held = held.saturating_add(time);
        tasks = tasks.saturating_add(live.open);
    }
    let free = buffer.saturating_mul(slots).saturating_sub(held);
    let time = asked.min(buffer).saturating_mul(slots).min(free);
    let idle = hosting.ask.slots.saturating_sub(tasks);
    let room = Room { time, idle, held };
    (!room.is_full()).then_some(room)
}

fn offer_job(
    core: &mut Core,
    hosting: &Hosting<'_>,
    job_id: JobId,
    room: &mut Room,
) -> Result<Option<Granted>, String> {
    let Some(job) = core.jobs.get(&job_id) else { return Ok(None) };
    let probes = if job.time == 0 { leases_of(core, hosting.host, job_id) } else { 0 };
    if probes >= PROBES && room.idle == 0 {
        return Err(format!("job {}: its first result is awaited", job_id.short()));
    }
    let most = match job.steps() {
        Some(_) => 1,
        None => affordable(job, tasks_for(job, hosting.ask.slots, room, probes))?,
    };
    let Some(Run { first, count, relaxed }) = pick(core, hosting, job_id, most)? else {
        return Ok(None);
    };
    let Some(job) = core.jobs.get_mut(&job_id) else { return Ok(None) };
    let time = u64::from(count).saturating_mul(job.time) >> 10;
    let per_slot = count / hosting.ask.slots.max(1);
    job.per_slot = if job.time > 0 { job.per_slot.max(per_slot) } else { job.per_slot };
    // Before the first result nobody knows how long a task takes: the lease is a probe and fills the room.
    room.time = if job.time == 0 { 0 } else { room.time.saturating_sub(time) };
    room.idle = room.idle.saturating_sub(count);
    room.held = room.held.saturating_add(time);
    let expected = room.held / u64::from(hosting.ask.slots.max(1));
    let states = job.starts(first..first + count);
    let lease = grant(core, hosting, (job_id, Run { first, count, relaxed }), expected);
    Ok(lease.map(|lease| Granted { lease, states }))
}

/// Leases of a job that a host still owes results of.
fn leases_of(core: &Core, host: HostId, job: JobId) -> usize {
    let leases = core.hosts.get(&host).into_iter().flat_map(|host| &host.leases);
    let live = leases.filter_map(|attempt| core.leases.get(attempt));
    live.filter(|live| live.row.job == job && live.open > 0).count()
}

/// Tasks that fill the room: by the running average, at most eight times the longest lease before. A host with enough probes
/// gets no more than what its idle slots run.
fn tasks_for(job: &Job, slots: u32, room: &Room, probes: usize) -> u32 {
    let by_time = match room.time.saturating_mul(1_024).checked_div(job.time) {
        Some(tasks) => u32::try_from(tasks).unwrap_or(u32::MAX),
        None if probes >= PROBES => 0,
        None => u32::MAX,
    };
    let longest =
        if job.time == 0 { probe(job) } else { job.per_slot.max(1).saturating_mul(GROWTH) };
    by_time.min(longest.saturating_mul(slots)).max(room.idle).clamp(1, MAX_LEASE_TASKS)
}

/// One task a slot when there are few, up to four when there are many.
fn probe(job: &Job) -> u32 {
    (job.row.tasks / 64).clamp(1, PROBE)
}

/// Whether the budget covers a segment of a long task; what it covers of commands was counted before.
fn covered(job: &Job, most: Amount) -> Result<(), Unfit> {
    let divided = job.steps().is_some();
    match reserve(&job.budget(), most) {
        Err(error) if divided => Err(Unfit { reason: error.to_string(), until: None }),
        _ => Ok(()),
    }
}

/// As many of `wanted` tasks as the budget covers, when it covers any.
fn affordable(job: &Job, wanted: u32) -> Result<u32, String> {
    let budget = job.budget();
    if job.each == Amount::ZERO || reserve(&budget, times(job.each, wanted)).is_ok() {
        return Ok(wanted);
    }
    let left = less(less(budget.budget, budget.spent), budget.reserved);
    let tasks = left.micros() / job.each.micros();
    match u32::try_from(tasks).unwrap_or(u32::MAX) {
        0 => {
            let short = reserve(&budget, job.each).err().map(|error| error.to_string());
            Err(format!("job {}: {}", job.row.id.short(), short.unwrap_or_default()))
        }
        tasks => Ok(tasks.min(wanted)),
    }
}

/// Tasks in a row for one lease.
#[derive(Clone, Copy)]
struct Run {
    first: u32,
    count: u32,
    /// Whether neighbours of the host are at each of them, or at none.
    relaxed: bool,
}

/// A run of tasks for the host: first of those that wait for another host, then of those that never had a lease.
fn pick(
    core: &mut Core,
    hosting: &Hosting<'_>,
    job_id: JobId,
    most: u32,
) -> Result<Option<Run>, String> {
    let Some(job) = core.jobs.get(&job_id) else { return Ok(None) };
    let (mut run, mut why, mut relax) = (None::<Run>, None, core.relax_at);
    for task in job.again.iter().copied().take(MAX_SCAN) {
        let fit = suits(core, hosting, job, task).and_then(|()| covered(job, job.most(task)));
        let near = |slot: &Slot| slot.is_near(hosting.near, hosting.owner);
        let relaxed = job.slots.get(&task).is_some_and(near);
        match (fit, &mut run) {
            (Ok(()), None) => run = Some(Run { first: task, count: 1, relaxed }),
            (Ok(()), Some(run)) if run.goes_on(task, relaxed) && run.count < most => run.count += 1,
            (Err(unfit), None) => {
                relax = [relax, unfit.until].into_iter().flatten().min();
                why = Some(unfit.reason);
            }
            _ => break,
        }
    }
    core.relax_at = relax;
    let Some(job) = core.jobs.get_mut(&job_id) else { return Ok(None) };
    let untouched = job.cursor < job.row.tasks && run.is_none();
    let dear = covered(job, job.each).err().filter(|_| untouched).map(|unfit| unfit.reason);
    let found = if dear.is_some() { run } else { run.or_else(|| fresh(job, most)) };
    match why.or(dear) {
        Some(why) if found.is_none() => Err(format!("job {}: {why}", job_id.short())),
        _ => Ok(found),
    }
}

impl Run {
    /// Whether a task comes next in it.
    const fn goes_on(&self, task: u32, relaxed: bool) -> bool {
        self.first + self.count == task && self.relaxed == relaxed
    }
}

fn fresh(job: &mut Job, most: u32) -> Option<Run> {
    let taken = |job: &Job, task| job.state_of(task) != 0 || job.slots.contains_key(&task);
    while job.cursor < job.row.tasks && taken(job, job.cursor) {
        job.cursor += 1;
    }
    let (first, end) = (job.cursor, job.row.tasks.min(job.cursor.saturating_add(most)));
    let count = (first..end).take_while(|task| !taken(job, *task)).count();
    job.cursor += u32::try_from(count).unwrap_or(0);
    (count > 0).then_some(Run { first, count: job.cursor - first, relaxed: false })
}

fn grant(
    core: &mut Core,
    hosting: &Hosting<'_>,
    (job_id, Run { first, count, relaxed }): (JobId, Run),
    expected: u64,
) -> Option<Lease> {
    let (attempt, nonce, now) = (core.draw_attempt(), core.draw_nonce(), core.now);
    let term = LEAST_TERM.max(2 * core.config.heartbeat).max(expected.saturating_mul(10));
    let term = term.min(LONGEST_TERM);
    let job = core.jobs.get(&job_id)?;
    let lease = Lease {
        format: 1,
        network: core.identity.network.clone(),
        coordinator: core.identity.coordinator,
        epoch: core.epoch,
        job: job_id,
        first: TaskIndex(first),
        count,
        attempt,
        host: hosting.host,
        owner: hosting.owner,
        payer: job.row.payer,
        tariff: job.manifest.tariff,
        limits: job.manifest.limits,
        versions: job.manifest.versions,
        nonce,
        issued: now,
        expiry: now.plus(term),
        module: job.row.module,
    };
    let row = LeaseRow {
        attempt,
        digest: lease.digest(),
        job: job_id,
        host: hosting.host,
        owner: hosting.owner,
        first: TaskIndex(first),
        count,
        epoch: core.epoch,
        issued: now,
        expiry: lease.expiry,
        given_back: Vec::new(),
        near: hosting.near,
        relaxed,
    };
    core.out.leases.insert(attempt, row.clone());
    let tasks: Vec<u32> = (first..first + count).collect();
    let live = Live { weight: job.fuel.max(1), ..Live::new(row, term, hosting.ask.slots) };
    hold(core, live, &tasks);
    Some(lease)
}

/// Books a lease: its tasks are held, their limit price is reserved, its expiry is watched.
pub fn hold(core: &mut Core, mut live: Live, tasks: &[u32]) {
    let (attempt, now) = (live.row.attempt, core.now);
    let Some(job) = core.jobs.get_mut(&live.row.job) else { return };
    let LeaseRow { host, owner, near, relaxed, .. } = live.row;
    for task in tasks {
        let reserved = job.most(*task);
        job.reserved = add(job.reserved, reserved);
        let slot = job.slots.entry(*task).or_default();
        slot.holders.push(Holder { attempt, host, owner, near, relaxed, reserved });
        if slot.holders.len() == 1 {
            slot.since = now;
        }
        job.refresh(*task, now);
    }
    live.open = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
    job.leases += 1;
    core.out.jobs.insert(live.row.job);
    if let Some(payer) = core.payers.get_mut(&job.row.payer) {
        payer.in_flight = payer.in_flight.saturating_add(live.weight * u64::from(live.open));
    }
    if let Some(host) = core.hosts.get_mut(&live.row.host) {
        host.leases.insert(attempt);
    }
    core.expiries.insert((live.row.expiry, attempt));
    core.leases.insert(attempt, live);
}
