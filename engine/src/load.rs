//! Loading: the hot state from what the last commit left.

use std::collections::{BTreeMap, BTreeSet};

use tallymill_ledger::{Amount, Balances, Payee, reserve};
use tallymill_protocol::{
    AttemptId, HostId, JobId, Manifest, Message as _, Micros, Receipt, TaskIndex, merkle,
};

use crate::api::Config;
use crate::chain::{Chain, most_at_first};
use crate::lease::{LONGEST_TERM, hold};
use crate::out::Out;
use crate::refusal::LoadError;
use crate::rows::{
    FaultKind, Identity, JobRow, JobState, LeaseRow, PAGE_BYTES, PageRow, ReplicaRow, SegmentRow,
    Snapshot, SuspensionKind, VoidRow,
};
use crate::slots::end_if_over;
use crate::state::{Core, Fault, Host, Live, Vote, add, tasks_of};
use crate::submit::{accounts_of, insert, new_job};

/// Least grace of a lease after a start, µs.
const GRACE: u64 = 60 * Micros::SECOND;

/// The hot state of `snapshot`.
pub fn core(
    identity: Identity,
    config: Config,
    mut snapshot: Snapshot,
    now: Micros,
) -> Result<Core, LoadError> {
    let (jobs, pages) = (std::mem::take(&mut snapshot.jobs), std::mem::take(&mut snapshot.pages));
    let (leases, voids) =
        (std::mem::take(&mut snapshot.leases), std::mem::take(&mut snapshot.voids));
    let replicas = std::mem::take(&mut snapshot.replicas);
    let segments = std::mem::take(&mut snapshot.segments);
    let paid = std::mem::take(&mut snapshot.paid);
    let mut core = empty(identity, config, snapshot, now)?;
    jobs.into_iter().try_for_each(|row| add_job(&mut core, row))?;
    pages.into_iter().try_for_each(|row| add_page(&mut core, &row))?;
    check_totals(&core)?;
    paid.iter().try_for_each(|(job, host)| add_paid(&mut core, *job, *host))?;
    segments.iter().try_for_each(|row| add_segment(&mut core, row))?;
    replicas.iter().try_for_each(|row| add_replica(&mut core, row))?;
    voids.iter().try_for_each(|row| add_void(&mut core, row))?;
    let mut gone = no_longer_held(&replicas, &voids, &leases);
    for row in leases {
        let gone = gone.remove(&row.attempt).unwrap_or_default();
        add_lease(&mut core, row, &gone)?;
    }
    find_waiting(&mut core);
    check_reserved(&core)?;
    let jobs: Vec<JobId> = core.jobs.keys().copied().collect();
    jobs.into_iter().for_each(|job| end_if_over(&mut core, job));
    Ok(core)
}

fn empty(
    identity: Identity,
    config: Config,
    snapshot: Snapshot,
    now: Micros,
) -> Result<Core, LoadError> {
    let now = now.max(snapshot.now);
    let mut balances = Balances::default();
    snapshot.balances.iter().for_each(|row| balances.load(row.account, row.amount));
    let accounts: BTreeMap<_, _> = snapshot.accounts.into_iter().map(|row| (row.id, row)).collect();
    let stray = snapshot.hosts.iter().find(|row| !accounts.contains_key(&row.owner));
    if let Some(row) = stray {
        return Err(LoadError::Owner { host: row.id, owner: row.owner });
    }
    let host = |row| Host { row, near: None, leases: Default::default(), written: Micros(0) };
    let once =
        snapshot.once.into_iter().map(|row| ((row.account, row.route, row.name.clone()), row));
    let suspensions = snapshot.suspensions.into_iter().map(|row| ((row.kind, row.subject), row));
    Ok(Core {
        identity,
        config,
        epoch: snapshot.epoch,
        now,
        sequence: snapshot.sequence,
        counters: snapshot.counters,
        draws: 0,
        loaded: snapshot.sequence,
        hosts: snapshot.hosts.into_iter().map(|row| (row.id, host(row))).collect(),
        accounts,
        jobs: BTreeMap::new(),
        payers: BTreeMap::new(),
        leases: BTreeMap::new(),
        expiries: Default::default(),
        deadlines: Default::default(),
        suspensions: suspensions.collect(),
        once: once.collect(),
        once_pruned: now,
        recent: Default::default(),
        ended: Default::default(),
        waiting: BTreeMap::new(),
        waits: Default::default(),
        stirred: false,
        relax_at: None,
        started: now,
        active: (0, now),
        balances,
        out: Out::default(),
    })
}

fn add_job(core: &mut Core, row: JobRow) -> Result<(), LoadError> {
    let job = row.id;
    let manifest = Manifest::from_bytes(&row.envelope.payload.0)
        .map_err(|error| LoadError::Manifest { job, reason: error.to_string() })?;
    let each = most_at_first(&manifest, row.largest_input)?;
    let accounts = accounts_of(core, job, &manifest);
    let mut live = new_job(row, Box::new(manifest), accounts, each);
    // Which way a stopping job ends is not stored: what stopped it still stands.
    live.end = if core.suspensions.contains_key(&(SuspensionKind::Job, job.0))
        || crate::choose::job_suspended(core, &live).is_some()
    {
        JobState::Suspended
    } else if live.row.deadline <= core.now {
        JobState::Expired
    } else {
        JobState::Cancelled
    };
    insert(core, live);
    Ok(())
}

fn add_page(core: &mut Core, row: &PageRow) -> Result<(), LoadError> {
    let orphan = LoadError::Orphan { what: "slot states", job: row.job };
    let job = core.jobs.get_mut(&row.job).ok_or(orphan.clone())?;
    let from = row.page as usize * PAGE_BYTES;
    let states = job.states.get_mut(from..from + PAGE_BYTES).ok_or(orphan.clone())?;
    if row.states.len() != PAGE_BYTES {
        return Err(orphan);
    }
    states.copy_from_slice(&row.states);
    Ok(())
}

fn check_totals(core: &Core) -> Result<(), LoadError> {
    for (id, job) in &core.jobs {
        let bits = |byte: &u8| (0..4).filter(|at| byte >> (at * 2) & 3 != 0).count();
        let found: usize = job.states.iter().map(bits).sum();
        let (said, found) = (job.decided(), u32::try_from(found).unwrap_or(u32::MAX));
        if said != found {
            return Err(LoadError::Totals { job: *id, said, found });
        }
    }
    Ok(())
}

fn add_paid(core: &mut Core, job: JobId, host: HostId) -> Result<(), LoadError> {
    let orphan = LoadError::Orphan { what: "paid hosts", job };
    core.jobs.get_mut(&job).ok_or(orphan)?.compiled.insert(host);
    Ok(())
}

/// A long task goes on after its last agreed segment.
fn add_segment(core: &mut Core, row: &SegmentRow) -> Result<(), LoadError> {
    let orphan = LoadError::Orphan { what: "a segment", job: row.job };
    let job = core.jobs.get_mut(&row.job).filter(|job| job.steps().is_some()).ok_or(orphan)?;
    if job.state_of(row.task.0) == 0 {
        job.cursor = job.cursor.max(row.task.0 + 1);
        let chain = Some(Box::new(Chain::after(row)));
        job.slots.entry(row.task.0).or_default().chain = chain;
    }
    Ok(())
}

fn add_replica(core: &mut Core, row: &ReplicaRow) -> Result<(), LoadError> {
    let orphan = LoadError::Orphan { what: "a result", job: row.job };
    let job = core.jobs.get_mut(&row.job).ok_or(orphan)?;
    let receipt = Receipt::from_bytes(&row.receipt)
        .map_err(|error| LoadError::Receipt { job: row.job, reason: error.to_string() })?;
    let payee = Payee { host: row.host, owner: row.owner };
    let leaf = merkle::leaf(&row.receipt);
    let vote = Vote { near: row.near, ..Vote::of(&receipt, payee, row.amount, leaf) };
    job.learn(receipt.cpu_time, receipt.fuel);
    job.compiled.insert(row.host);
    job.reserved = add(job.reserved, row.amount);
    job.cursor = job.cursor.max(row.task.0 + 1);
    job.slots.entry(row.task.0).or_default().results.push(vote);
    Ok(())
}

/// Void runs that said nothing about the guest do not count against a task, now as before, nor do faults before its last
/// agreed segment.
fn add_void(core: &mut Core, row: &VoidRow) -> Result<(), LoadError> {
    let orphan = LoadError::Orphan { what: "a void run", job: row.job };
    let most = core.config.owner_faults;
    let job = core.jobs.get_mut(&row.job).ok_or(orphan)?;
    let passed = row.at <= job.chain(row.task.0).at;
    if row.counts() && job.state_of(row.task.0) == 0 && !passed {
        job.cursor = job.cursor.max(row.task.0 + 1);
        let slot = job.slots.entry(row.task.0).or_default();
        if slot.faults_of(row.owner) < most {
            slot.faults.push(Fault { owner: row.owner, kind: row.fault });
        }
    }
    Ok(())
}

/// What each lease holds no longer, decided tasks apart: what waits as its result, and what its row says was given back.
/// Rows of an older version do not say so of void runs.
fn no_longer_held(
    replicas: &[ReplicaRow],
    voids: &[VoidRow],
    leases: &[LeaseRow],
) -> BTreeMap<AttemptId, BTreeSet<TaskIndex>> {
    let mut gone: BTreeMap<AttemptId, BTreeSet<TaskIndex>> = BTreeMap::new();
    for row in replicas {
        gone.entry(row.attempt).or_default().insert(row.task);
    }
    let mut of_host: BTreeMap<(JobId, HostId), Vec<&VoidRow>> = BTreeMap::new();
    for void in voids {
        of_host.entry((void.job, void.host)).or_default().push(void);
    }
    for lease in leases {
        let void = of_host.get(&(lease.job, lease.host)).into_iter().flatten();
        let told = [FaultKind::Void, FaultKind::Declined];
        let void = void.filter(|void| told.contains(&void.fault) && void.at > lease.issued);
        let void = void.map(|void| void.task);
        gone.entry(lease.attempt).or_default().extend(lease.given_back.iter().copied().chain(void));
    }
    gone
}

/// A lease holds again what its host has neither reported nor given back, for a full term from now. One whose host or owner
/// is suspended is stopped, as it was before, and gets only the time to say what it ran.
fn add_lease(
    core: &mut Core,
    mut row: LeaseRow,
    gone: &BTreeSet<TaskIndex>,
) -> Result<(), LoadError> {
    let orphan = LoadError::Orphan { what: "a lease", job: row.job };
    let told = core.suspension(SuspensionKind::Host, &row.host.0).is_some()
        || core.suspension(SuspensionKind::Account, &row.owner.0).is_some();
    let job = core.jobs.get_mut(&row.job).ok_or(orphan)?;
    let open: Vec<u32> = tasks_of(&row)
        .filter(|task| job.state_of(*task) == 0 && !gone.contains(&TaskIndex(*task)))
        .collect();
    job.cursor = job.cursor.max(tasks_of(&row).end.min(job.row.tasks));
    let stop = told || !job.is_running();
    // What was left of it is the term: one that was renewed often is old, but holds no longer for that.
    let term = row.expiry.since(core.now).clamp(GRACE, LONGEST_TERM);
    row.expiry = core.now.plus(if told { 2 * core.config.heartbeat } else { term });
    let width = row.count;
    let live = Live { stop, moved: core.now, ..Live::new(row, term, width) };
    if open.is_empty() {
        core.out.batch.closed_leases.push(live.row.attempt);
    } else {
        hold(core, live, &open);
    }
    Ok(())
}

/// Tasks below the cursor that nobody runs wait for a host.
fn find_waiting(core: &mut Core) {
    let now = core.now;
    for job in core.jobs.values_mut() {
        for task in 0..job.cursor {
            job.refresh(task, now);
        }
    }
}

fn check_reserved(core: &Core) -> Result<(), LoadError> {
    for (id, job) in &core.jobs {
        if let Err(error) = reserve(&job.budget(), Amount::ZERO) {
            return Err(LoadError::Reserved { job: *id, reason: error.to_string() });
        }
    }
    Ok(())
}
