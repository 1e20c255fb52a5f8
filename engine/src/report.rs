//! Reports: what is believed of a batch of receipts, and what becomes of each.

use std::collections::BTreeSet;

use tallymill_ledger::{Amount, Payee, PricedUse, Reservation, price, reserve};
use tallymill_protocol::work::{Position, Verdict};
use tallymill_protocol::{
    Digest, HostId, Lease, MAX_RECEIPTS, Outcome, Receipt, Report, TaskIndex, merkle,
};

use crate::api::{Answer, CheckedReceipt, CheckedReport};
use crate::chain;
use crate::rows::{FaultKind, ReplicaRow, ReplicaState, ReportRow, UseRow};
use crate::slots::{decide_if_agreed, earn, end_if_over, note_fault, release, reopen, take_back};
use crate::state::{Core, Fault, Holder, Job, Vote, add, index_of, less, most_fuel};

/// Bytes of a page of linear memory.
const PAGE: u64 = 65_536;

/// Where a receipt stands.
#[derive(Clone, Copy)]
struct Place {
    host: HostId,
    root: Digest,
    epoch: u64,
    position: u32,
    leaf: Digest,
    near: Option<[u8; 8]>,
    relaxed: bool,
}

/// Decides a report. One that was taken before is answered as before; one out of sequence is not looked at.
pub fn on_report(core: &mut Core, host_id: HostId, checked: CheckedReport) -> Answer {
    let root = checked.report.root;
    if let Some(answer) = replayed(core, host_id, &checked) {
        return answer;
    }
    if let Err((reason, next)) = may_follow(core, host_id, &checked) {
        return Answer { root, verdicts: Vec::new(), reason, next };
    }
    let CheckedReport { report, envelope, receipts, leases, .. } = checked;
    let leaves: Vec<Digest> = receipts.iter().map(|checked| merkle::leaf(&checked.bytes)).collect();
    let epoch = report.epoch;
    let place =
        Place { host: host_id, root, epoch, position: 0, leaf: root, near: None, relaxed: false };
    let (verdicts, reason) = judge_all(core, place, receipts, &leaves);
    core.counters.log += 1;
    let codes: Vec<u8> = verdicts.iter().map(|verdict| *verdict as u8).collect();
    if let Some(host) = core.hosts.get_mut(&host_id) {
        host.row.reports += 1;
        host.row.last_report = Report::digest_of(&envelope.payload.0);
        core.out.hosts.insert(host_id);
    }
    core.recent.insert(root, host_id, codes.clone());
    core.out.batch.reports.push(ReportRow {
        root,
        host: host_id,
        sequence: report.sequence,
        epoch: report.epoch,
        envelope,
        leases,
        leaves,
        receipts: report.count,
        verdicts: codes,
        log_index: core.counters.log,
        at: core.now,
    });
    Answer { root, verdicts, reason, next: None }
}

fn replayed(core: &Core, host: HostId, checked: &CheckedReport) -> Option<Answer> {
    let root = checked.report.root;
    let stored = match core.recent.get(&root) {
        Some((from, _)) if *from != host => {
            let reason = "root: another host reported these receipts".to_owned();
            return Some(Answer { root, verdicts: Vec::new(), reason, next: None });
        }
        Some((_, codes)) => codes,
        None => checked.known.as_ref()?,
    };
    let verdict = |code: &u8| Verdict::from_code(*code).unwrap_or(Verdict::Refused);
    let verdicts = stored.iter().map(verdict).collect();
    Some(Answer { root, verdicts, reason: String::new(), next: None })
}

/// Why a report is not looked at, and the place it should have had if it was out of order.
type OutOfOrder = (String, Option<Position>);

/// Whether a report is the next one of its host. A refusal says what would be.
fn may_follow(core: &Core, host: HostId, checked: &CheckedReport) -> Result<(), OutOfOrder> {
    let report = &checked.report;
    let no_host = || ("host: not known here".to_owned(), None);
    let row = core.hosts.get(&host).map(|host| &host.row).ok_or_else(no_host)?;
    if report.host != host {
        return Err((
            format!("host: the report is of {}, the caller is {host}", report.host),
            None,
        ));
    }
    let next = Position { sequence: row.reports, previous: row.last_report };
    if (report.sequence, report.previous) != (next.sequence, next.previous) {
        let Position { sequence, previous } = next;
        let reason = format!("sequence: {sequence} is expected, after {previous}; sign it again");
        return Err((reason, Some(next)));
    }
    if report.epoch > core.epoch {
        let (ours, theirs) = (core.epoch, report.epoch);
        let reason = format!("epoch: {theirs} has not begun, this coordinator is at {ours}");
        return Err((reason, None));
    }
    let receipts = checked.receipts.len();
    if receipts == 0 || receipts > MAX_RECEIPTS || receipts != report.count as usize {
        let named = report.count;
        return Err((format!("count: {named} receipts named, {receipts} sent; 1 to 8192"), None));
    }
    Ok(())
}

/// A verdict per receipt, and why the first refused one is.
fn judge_all(
    core: &mut Core,
    place: Place,
    receipts: Vec<CheckedReceipt>,
    leaves: &[Digest],
) -> (Vec<Verdict>, String) {
    let (mut seen, mut reason) = (BTreeSet::new(), String::new());
    let mut verdicts = Vec::with_capacity(receipts.len());
    for ((position, checked), leaf) in (0..).zip(receipts).zip(leaves) {
        let task = (checked.lease.job, checked.receipt.task);
        let twice = || format!("task {}: twice in one report", task.1);
        let judged = if seen.insert(task) {
            judge(core, Place { position, leaf: *leaf, ..place }, checked)
        } else {
            Err(twice())
        };
        verdicts.push(judged.unwrap_or_else(|why| {
            if reason.is_empty() {
                reason = why.chars().take(160).collect();
            }
            Verdict::Refused
        }));
    }
    (verdicts, reason)
}

fn judge(core: &mut Core, place: Place, checked: CheckedReceipt) -> Result<Verdict, String> {
    let (task, lease) = (checked.receipt.task.0, checked.lease.clone());
    let believed = believe(core, &place, &checked);
    let holder = holder(core, &lease, task, place.host);
    let held = holder.is_some();
    let own = holder.map_or(Amount::ZERO, |holder| holder.reserved);
    let amount = match believed.map(|amount| amount.filter(|it| fits(core, &lease, *it, own))) {
        Ok(Some(amount)) => amount,
        // The host has had its say about this task, which goes to somebody else at once.
        Ok(None) => {
            give_back(core, &lease, (task, place.host), None);
            return Ok(Verdict::Superseded);
        }
        Err(why) => {
            give_back(core, &lease, (task, place.host), Some(&why));
            return Err(format!("task {task}: {why}"));
        }
    };
    if let Some(live) = core.leases.get_mut(&lease.attempt) {
        live.claimed = live.claimed.saturating_add(checked.receipt.fuel);
        live.moved = core.now;
    }
    let (near, relaxed) = neighbourhood(core, &lease, task, holder);
    let place = Place { near, relaxed, ..place };
    let stopped = checked.receipt.outcome == Outcome::Stopped;
    if held && stopped {
        take_back(core, lease.job, task, lease.attempt);
    } else if held {
        release(core, lease.job, task, lease.attempt);
    }
    if stopped {
        take_stopped(core, place, checked, amount);
    } else {
        take(core, place, checked, amount);
    }
    let decided = stopped || decide_if_agreed(core, lease.job, task);
    end_if_over(core, lease.job);
    Ok(if decided { Verdict::Settled } else { Verdict::Taken })
}

/// Whether the job's budget covers a result; what its own lease reserved counts for it.
fn fits(core: &Core, lease: &Lease, amount: Amount, own: Amount) -> bool {
    let Some(job) = core.jobs.get(&lease.job) else { return false };
    let others = Reservation { reserved: less(job.reserved, own), ..job.budget() };
    reserve(&others, amount).is_ok()
}

fn holds(core: &Core, lease: &Lease, task: u32, host: HostId) -> bool {
    holder(core, lease, task, host).is_some()
}

/// Where a result comes from, and whether a neighbour was at the task before: as its lease says or, once that is gone, as
/// the host calls now and what stands in the slot.
fn neighbourhood(
    core: &Core,
    lease: &Lease,
    task: u32,
    holder: Option<Holder>,
) -> (Option<[u8; 8]>, bool) {
    if let Some(holder) = holder {
        return (holder.near, holder.relaxed);
    }
    let near = core.hosts.get(&lease.host).and_then(|host| host.near);
    let slot = core.jobs.get(&lease.job).and_then(|job| job.slots.get(&task));
    (near, slot.is_some_and(|slot| slot.is_near(near, lease.owner)))
}

/// The part of a lease in force in a task that its host still runs under it.
fn holder(core: &Core, lease: &Lease, task: u32, host: HostId) -> Option<Holder> {
    let holders = &core.jobs.get(&lease.job)?.slots.get(&task)?.holders;
    let mine = |holder: &&Holder| holder.attempt == lease.attempt && holder.host == host;
    holders.iter().find(mine).copied()
}

/// Takes a task back from its lease; `refused` says why its receipt was, which counts against its owner.
fn give_back(core: &mut Core, lease: &Lease, (task, host): (u32, HostId), refused: Option<&str>) {
    if holds(core, lease, task, host) && take_back(core, lease.job, task, lease.attempt) {
        let fault = refused.map(|_| Fault { owner: lease.owner, kind: FaultKind::Refused });
        if let Some((fault, why)) = fault.zip(refused) {
            let why = why.chars().take(160).collect();
            note_fault(core, (lease.job, task, host), fault, why);
        }
        reopen(core, lease.job, task, fault);
        core.stirred = true;
        end_if_over(core, lease.job);
    }
}

/// What the receipt costs; nothing when the task was decided without it; an error when it cannot be believed.
fn believe(core: &Core, place: &Place, checked: &CheckedReceipt) -> Result<Option<Amount>, String> {
    if let Some(refused) = &checked.refused {
        return Err(refused.clone());
    }
    check_lease(core, place, &checked.lease)?;
    check_receipt(&checked.lease, &checked.receipt)?;
    check_time(core, &checked.lease, &checked.receipt)?;
    let task = checked.receipt.task.0;
    let Some(job) = core.jobs.get(&checked.lease.job) else { return Ok(None) };
    check_job(job, checked)?;
    // A stopping job still pays the leases in force, nobody else.
    let held = holds(core, &checked.lease, task, place.host);
    let over = job.row.finished.is_some() || !(job.is_running() || held);
    if over || job.state_of(task) != 0 || job.is_behind(&checked.receipt) {
        return Ok(None);
    }
    chain::check(job, &checked.receipt)?;
    if job.slots.get(&task).is_some_and(|slot| slot.voted(checked.lease.owner)) {
        return Ok(None);
    }
    let stopped = checked.receipt.outcome == Outcome::Stopped;
    if stopped && job.is_running() {
        return Err("stopped, but nobody stopped the job".to_owned());
    }
    let first = !job.compiled.contains(&place.host);
    let cost = price(&job.manifest.tariff, &PricedUse::of(&checked.receipt, first));
    cost.map(Some).map_err(|error| error.to_string())
}

fn check_lease(core: &Core, place: &Place, lease: &Lease) -> Result<(), String> {
    let (own, job) = (lease.owner == lease.payer, core.jobs.get(&lease.job));
    let rules = [
        (lease.host == place.host, "the lease is of another host"),
        (lease.coordinator == core.identity.coordinator, "the lease is of another coordinator"),
        (lease.network == core.identity.network, "the lease is of another network"),
        (lease.epoch == place.epoch, "the lease is of another epoch than the report"),
        (!own || job.is_none_or(Job::is_trusted), "the payer holds no lease on the own job"),
    ];
    first_broken(&rules)
}

fn check_receipt(lease: &Lease, receipt: &Receipt) -> Result<(), String> {
    let limits = &lease.limits;
    let pages = u128::from(limits.memory.div_ceil(PAGE));
    let integral = u128::from(receipt.fuel) * pages;
    let rules = [
        (lease.covers(receipt.task), "not a task of its lease"),
        (receipt.module == lease.module, "module: not that of its lease"),
        (receipt.fuel <= limits.fuel, "fuel: above the limit of its lease"),
        (
            receipt.bytes_out <= limits.output || receipt.outcome == Outcome::Paused,
            "bytes_out: above the limit of its lease",
        ),
        (receipt.peak_memory <= limits.memory, "peak_memory: above the limit of its lease"),
        (u128::from(receipt.memory_fuel) <= integral, "memory_fuel: above memory limit × fuel"),
    ];
    first_broken(&rules)
}

/// Refuses fuel that cannot have been used since the lease was granted. What is stopped is paid without a comparison: it
/// must also fit what its host said while it did not know of the stop, all receipts of the lease together.
fn check_time(core: &Core, lease: &Lease, receipt: &Receipt) -> Result<(), String> {
    let stopped = receipt.outcome == Outcome::Stopped;
    let live = core.leases.get(&lease.attempt).filter(|_| stopped);
    let left = live.map(|live| live.plausible(core.now).saturating_sub(live.claimed));
    let most = most_fuel(core.now.since(lease.issued)).min(left.unwrap_or(u64::MAX));
    if receipt.fuel <= most {
        return Ok(());
    }
    Err(format!(
        "fuel: {} since its lease was granted; no machine does more than {most}",
        receipt.fuel
    ))
}

fn check_job(job: &Job, checked: &CheckedReceipt) -> Result<(), String> {
    let (lease, manifest) = (&checked.lease, &job.manifest);
    let longest = job.row.largest_input;
    let divided = job.steps().is_some();
    let rules = [
        (lease.module == manifest.module, "module: not that of the job"),
        (lease.versions == manifest.versions, "versions: not those of the job"),
        (lease.limits == manifest.limits, "limits: not those of the job"),
        (lease.tariff == manifest.tariff, "tariff: not that of the job"),
        (
            divided || checked.receipt.bytes_in <= longest,
            "bytes_in: longer than any input of the job",
        ),
        (checked.receipt.task.0 < job.row.tasks, "no task of the job"),
    ];
    first_broken(&rules)
}

fn first_broken(rules: &[(bool, &str)]) -> Result<(), String> {
    rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err((*rule).to_owned()))
}

/// Puts a result into its slot, where it waits until enough agree.
fn take(core: &mut Core, place: Place, checked: CheckedReceipt, amount: Amount) {
    let receipt = &checked.receipt;
    let payee = Payee { host: place.host, owner: checked.lease.owner };
    let vote = Vote { near: place.near, ..Vote::of(receipt, payee, amount, place.leaf) };
    let Some(job) = core.jobs.get_mut(&checked.lease.job) else { return };
    job.learn(receipt.cpu_time, receipt.fuel);
    job.compiled.insert(place.host);
    job.reserved = add(job.reserved, amount);
    job.slots.entry(receipt.task.0).or_default().results.push(vote);
    if let Some(payer) = core.payers.get_mut(&job.row.payer) {
        payer.recent = payer.recent.saturating_add(receipt.fuel);
    }
    core.out.jobs.insert(checked.lease.job);
    add_row(core, place, checked, (ReplicaState::Reported, amount));
}

/// Pays a run that was stopped with its job, up to its last slice. It is never a result.
fn take_stopped(core: &mut Core, place: Place, checked: CheckedReceipt, amount: Amount) {
    let job_id = checked.lease.job;
    let Some(job) = core.jobs.get_mut(&job_id) else { return };
    let payee = Payee { host: place.host, owner: checked.lease.owner };
    let (task, segment) = (checked.receipt.task.0, index_of(checked.receipt.segment));
    earn(job, payee, ((task, segment), amount, place.leaf));
    job.compiled.insert(place.host);
    core.out.told.insert(payee.owner);
    core.out.jobs.insert(job_id);
    add_row(core, place, checked, (ReplicaState::Stopped, amount));
}

fn add_row(
    core: &mut Core,
    place: Place,
    checked: CheckedReceipt,
    (state, amount): (ReplicaState, Amount),
) {
    let at = core.now;
    // What is not in the row is a blob.
    let CheckedReceipt { receipt, output, log, .. } = &checked;
    let blobs = [(output, receipt.output), (log, receipt.log)];
    let blobs = blobs.into_iter().filter(|(inline, _)| inline.is_none());
    let uses = blobs.map(|(_, digest)| UseRow { digest, job: checked.lease.job });
    core.out.batch.uses.extend(uses);
    core.out.add_replica(ReplicaRow {
        job: checked.lease.job,
        task: TaskIndex(checked.receipt.task.0),
        segment: index_of(checked.receipt.segment),
        host: place.host,
        owner: checked.lease.owner,
        attempt: checked.lease.attempt,
        state,
        report: place.root,
        position: place.position,
        receipt: checked.bytes,
        lease: checked.receipt.lease,
        output: checked.output,
        log: checked.log,
        amount,
        final_after: None,
        at,
        near: place.near.filter(|_| state == ReplicaState::Reported),
        relaxed: place.relaxed,
    });
}
