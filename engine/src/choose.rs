//! Who may run what: the rules that keep a host from a job or a task, each with its reason.

use std::collections::BTreeSet;

use tallymill_protocol::{AccountId, HostId, JobId, Micros};

use crate::api::Ask;
use crate::rows::{AccountStatus, SuspensionKind};
use crate::state::{Core, Job};

/// A host that asks for work.
pub struct Hosting<'a> {
    pub host: HostId,
    pub owner: AccountId,
    pub near: Option<[u8; 8]>,
    pub ask: &'a Ask,
}

impl<'a> Hosting<'a> {
    pub fn of(core: &Core, host: HostId, ask: &'a Ask) -> Option<Self> {
        let known = core.hosts.get(&host)?;
        Some(Self { host, owner: known.row.owner, near: known.near, ask })
    }
}

/// Why a task is not for this host; `until` when that ends by itself.
pub struct Unfit {
    pub reason: String,
    pub until: Option<Micros>,
}

/// Why the host gets nothing at all.
pub fn host_refused(core: &Core, host_id: HostId, ask: &Ask) -> Option<String> {
    let row = &core.hosts.get(&host_id)?.row;
    let owner = core.accounts.get(&row.owner)?;
    if let Some(reason) = core.suspension(SuspensionKind::Host, &host_id.0) {
        return Some(format!("this host is suspended: {reason}"));
    }
    if let Some(reason) = core.suspension(SuspensionKind::Account, &owner.id.0) {
        return Some(format!("the owner's account is suspended: {reason}"));
    }
    let rules = [
        (owner.status == AccountStatus::Waiting, "the owner's account waits for approval"),
        (row.revoked_at.is_some(), "the owner withdrew this host"),
        (row.expiry <= core.now, "the binding of this host has ended: its owner signs a new one"),
        (ask.slots == 0, "no free slot"),
        (ask.buffer == 0, "the host asks for nothing"),
    ];
    rules.iter().find(|(holds, _)| *holds).map(|(_, reason)| (*reason).to_owned())
}

/// Why the host gets nothing of this job.
pub fn job_refused(core: &Core, hosting: &Hosting<'_>, job_id: JobId) -> Result<(), String> {
    let Some(job) = core.jobs.get(&job_id) else { return Ok(()) };
    let own = hosting.owner == job.row.payer || hosting.owner == job.row.submitter;
    let reason = job_suspended(core, job)
        .or_else(|| match (own, job.is_trusted()) {
            (true, false) => Some("a payer's own hosts run only its trusted jobs".to_owned()),
            (false, true) => Some("trusted jobs run on their payer's own hosts".to_owned()),
            _ => None,
        })
        .or_else(|| not_accepted(job, hosting.ask));
    reason.map_or(Ok(()), |reason| Err(format!("job {}: {reason}", job_id.short())))
}

/// The reason of a suspension that holds the job's leases back.
pub fn job_suspended(core: &Core, job: &Job) -> Option<String> {
    let subjects = [
        (SuspensionKind::Job, job.row.id.0, "suspended"),
        (SuspensionKind::Module, job.row.module.0, "its module is suspended"),
        (SuspensionKind::Account, job.row.payer.0, "its payer is suspended"),
        (SuspensionKind::Account, job.row.submitter.0, "its submitter is suspended"),
    ];
    let found = |(kind, subject, what): &(SuspensionKind, [u8; 32], &str)| {
        core.suspension(*kind, subject).map(|reason| format!("{what}: {reason}"))
    };
    subjects.iter().find_map(found)
}

/// The first of the owner's rules that the job breaks, or a feature that the host lacks.
fn not_accepted(job: &Job, ask: &Ask) -> Option<String> {
    let (accept, manifest) = (&ask.accept, &job.manifest);
    let (submitter, module) = (&manifest.submitter, &manifest.module);
    let tagged = |tags: &[tallymill_protocol::cbor::Text<64>]| {
        tags.iter().any(|tag| manifest.tags.0.contains(tag))
    };
    let only = |empty: bool, listed: bool| !empty && !listed;
    let (submitters, tags, modules) = (&accept.submitters.0, &accept.tags.0, &accept.modules.0);
    let rules = [
        (
            only(submitters.is_empty(), submitters.contains(submitter)),
            "the owner accepts other submitters only",
        ),
        (accept.refused_submitters.0.contains(submitter), "the owner refuses its submitter"),
        (only(tags.is_empty(), tagged(tags)), "the owner accepts other tags only"),
        (tagged(&accept.refused_tags.0), "the owner refuses one of its tags"),
        (
            only(modules.is_empty(), modules.contains(module)),
            "the owner accepts other modules only",
        ),
        (accept.refused_modules.0.contains(module), "the owner refuses its module"),
        (manifest.tariff.fuel < ask.min_tariff, "its tariff is below the host's"),
    ];
    if let Some((_, reason)) = rules.iter().find(|(holds, _)| *holds) {
        return Some((*reason).to_owned());
    }
    let features = &manifest.requirements.features.0;
    let lacking = features.iter().find(|feature| !ask.features.contains(&feature.0));
    lacking.map(|feature| format!("the host lacks the feature '{}'", feature.0))
}

/// Whether a waiting task may go to this host. Owners never share a task, and never get one again that they gave up too
/// often. Neighbours, and owners who gave it up once, come after others; when nobody else came for a while they do.
pub fn suits(core: &Core, hosting: &Hosting<'_>, job: &Job, task: u32) -> Result<(), Unfit> {
    let Some(slot) = job.slots.get(&task) else { return Ok(()) };
    let faults = slot.faults_of(hosting.owner);
    let never = [
        (slot.has_owner(hosting.owner), "its waiting tasks need a host of another owner"),
        (
            faults >= core.config.owner_faults,
            "its waiting tasks need a host of an owner that has not given them up",
        ),
    ];
    if let Some((_, reason)) = never.iter().find(|(holds, _)| *holds) {
        return Err(Unfit { reason: (*reason).to_owned(), until: None });
    }
    let until = slot.since.plus(core.config.neighbourhood_wait);
    let later = [
        (
            slot.is_near(hosting.near, hosting.owner),
            "its waiting tasks look for a host of another neighbourhood first",
        ),
        (
            faults > 0 && !job.is_trusted() && core.active.0 > 1,
            "its waiting tasks look for a host of an owner that did not give them up first",
        ),
    ];
    match later.iter().find(|(holds, _)| *holds && core.now < until) {
        Some((_, reason)) => Err(Unfit { reason: (*reason).to_owned(), until: Some(until) }),
        None => Ok(()),
    }
}

/// Running jobs with tasks that wait, at most `most`: the first of each payer, the payer with the least share first, then
/// the second of each, and so on. No payer stands in the way of others by the number of its jobs.
pub fn payers_in_turn(core: &mut Core, most: usize) -> Vec<JobId> {
    let now = core.now;
    let shares = core.payers.iter_mut().filter(|(_, payer)| !payer.queue.is_empty());
    let turn: BTreeSet<(u64, AccountId)> =
        shares.map(|(account, payer)| (payer.share(now), *account)).collect();
    let waits = |job: &&JobId| core.jobs.get(job).is_some_and(Job::has_waiting);
    let queue = |payer| core.payers.get(payer).into_iter().flat_map(|payer| &payer.queue);
    let mut queues: Vec<_> =
        turn.iter().map(|(_, payer)| queue(payer).map(|(.., job)| job).filter(waits)).collect();
    let mut jobs = Vec::new();
    while !queues.is_empty() && jobs.len() < most {
        queues.retain_mut(|queue| {
            let next = queue.next();
            jobs.extend(next);
            next.is_some()
        });
    }
    jobs.truncate(most);
    jobs
}
