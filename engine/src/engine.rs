//! The engine as its shell sees it.

use tallymill_ledger::{Amount, Balances};
use tallymill_protocol::{Digest, HostId, JobId, Manifest, Micros};

use crate::api::{Command, Config, Event, JobView, NetworkView, Once, Reply, Step, Token};
use crate::refusal::{LoadError, Refusal};
use crate::rows::{Batch, Identity, JobRow, JobState, OnceRow, PAGE_BYTES, PageRow, Snapshot};
use crate::slots::{lapse, return_lease, stop_job};
use crate::state::{Core, Job};
use crate::work::{on_dispatch, on_wait_over, on_work};
use crate::{admin, keep, load, money, submit, view};

/// How long an answer under an idempotency key is kept, µs.
const ONCE_KEPT: u64 = 7 * Micros::DAY;
/// Longest idempotency key, bytes.
const MAX_ONCE: usize = 128;

/// Most answers kept for one account.
const MAX_ONCE_KEPT: usize = 10_000;

/// The deciding core of one coordinator.
#[derive(Debug)]
pub struct Engine(Core);

impl Engine {
    /// An engine with the state of `snapshot`. Every lease in it gets a full grace term.
    ///
    /// # Errors
    /// When the snapshot contradicts itself.
    pub fn new(
        identity: Identity,
        config: Config,
        snapshot: Snapshot,
        now: Micros,
    ) -> Result<Self, LoadError> {
        load::core(identity, config, snapshot, now).map(Self)
    }

    /// Decides a command. Changes and replies gather until [`Engine::take`].
    pub fn handle(&mut self, token: Token, command: Command, now: Micros) {
        let core = &mut self.0;
        core.now = core.now.max(now);
        if let Command::Work { host, neighbourhood, ask, reports } = command {
            return on_work(core, (token, host), neighbourhood, ask, reports);
        }
        let reply = decide_once(core, command).unwrap_or_else(Reply::Refused);
        core.reply(token, reply);
    }

    /// Lets time pass: leases lapse, deadlines stop jobs, waiting hosts are answered.
    pub fn handle_timeout(&mut self, now: Micros) {
        let core = &mut self.0;
        core.now = core.now.max(now);
        let due = |at: Micros| at <= core.now;
        let lapsed: Vec<_> = core.expiries.iter().take_while(|(at, _)| due(*at)).copied().collect();
        let late: Vec<_> = core.deadlines.iter().take_while(|(at, _)| due(*at)).copied().collect();
        let waited: Vec<_> = core.waits.iter().take_while(|(at, _)| due(*at)).copied().collect();
        lapsed.into_iter().for_each(|(_, attempt)| lapse(core, attempt));
        late.into_iter().for_each(|(_, job)| stop_job(core, job, JobState::Expired));
        waited.into_iter().for_each(|(_, host)| on_wait_over(core, host));
        if core.relax_at.is_some_and(|at| at <= core.now) {
            core.relax_at = None;
            core.stirred = true;
        }
        prune(core);
        on_dispatch(core);
    }

    /// When [`Engine::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Micros> {
        let core = &self.0;
        let expiry = core.expiries.first().map(|(at, _)| *at);
        let deadline = core.deadlines.first().map(|(at, _)| *at);
        let wait = core.waits.first().map(|(at, _)| *at);
        let relax = core.relax_at.filter(|_| wait.is_some());
        [expiry, deadline, wait, relax].into_iter().flatten().min()
    }

    /// Answers waiting hosts that now have something to hear. Once per drained batch of commands.
    pub fn dispatch(&mut self, now: Micros) {
        self.0.now = self.0.now.max(now);
        on_dispatch(&mut self.0);
    }

    /// What was decided since the last call. When nothing has changed, the batch is empty ([`Batch::is_empty`]) and keeps
    /// the number of the last one: there is nothing to commit.
    pub fn take(&mut self, now: Micros) -> Step {
        self.0.now = self.0.now.max(now);
        let core = &mut self.0;
        for job in core.out.jobs.clone() {
            money::pay_earned(core, job);
        }
        let mut events = job_events(core);
        let job_rows = job_rows(core);
        for job in std::mem::take(&mut core.out.closing) {
            money::close(core, job);
        }
        let balances = money::balance_rows(core);
        let out = std::mem::take(&mut core.out);
        events.extend(out.told.iter().map(|owner| Event::Account { owner: *owner }));
        events.extend(out.network.then_some(Event::Network));
        let mut batch = Batch {
            accounts: out.accounts.iter().filter_map(|id| core.accounts.get(id)).cloned().collect(),
            hosts: out
                .hosts
                .iter()
                .filter_map(|id| core.hosts.get(id))
                .map(|host| host.row.clone())
                .collect(),
            jobs: job_rows.0,
            pages: job_rows.1,
            leases: out.leases.into_values().collect(),
            balances,
            now: core.now,
            sequence: core.sequence,
            ..out.batch
        };
        if !batch.is_empty() {
            core.sequence += 1;
            batch.sequence = core.sequence;
        }
        Step { batch, replies: out.replies, events }
    }

    /// A live job as decided so far; `None` when it is over or unknown.
    #[must_use]
    pub fn job(&self, job: JobId) -> Option<JobView> {
        view::job(&self.0, job)
    }

    /// Whether a host has a lease in force whose job names this blob.
    #[must_use]
    pub fn needs_blob(&self, host: HostId, digest: Digest) -> bool {
        view::needs_blob(&self.0, host, digest)
    }

    /// Whether a host has a lease of this job in force.
    #[must_use]
    pub fn needs_job(&self, host: HostId, job: JobId) -> bool {
        view::needs_job(&self.0, host, job)
    }

    /// When a host was last heard of; its row may be ten minutes behind.
    #[must_use]
    pub fn seen(&self, host: HostId) -> Option<Micros> {
        self.0.hosts.get(&host).map(|host| host.row.seen)
    }

    /// Why the owners that are online are too few for such a job, when they are: it would wait until others come.
    #[must_use]
    pub fn too_few(&self, manifest: &Manifest) -> Option<String> {
        view::too_few(&self.0, manifest)
    }

    /// Live jobs whose escrow holds less than their leases and undecided results may cost: job, escrow, reserved. There are
    /// none while the books are in order.
    #[must_use]
    pub fn uncovered(&self) -> Vec<(JobId, Amount, Amount)> {
        view::uncovered(&self.0)
    }

    /// How the network stands.
    #[must_use]
    pub fn network(&self) -> NetworkView {
        view::network(&self.0)
    }

    /// The balances as decided so far.
    #[must_use]
    pub const fn balances(&self) -> &Balances {
        &self.0.balances
    }

    /// The epoch of this start: every lease it grants carries it.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.0.epoch
    }
}

/// Decides a command, or answers as before when its idempotency key was used for the same request.
fn decide_once(core: &mut Core, mut command: Command) -> Result<Reply, Refusal> {
    let once = match &mut command {
        Command::Submit { once, .. }
        | Command::Cancel { once, .. }
        | Command::Grant { once, .. }
        | Command::Suspend { once, .. }
        | Command::Lift { once, .. }
        | Command::Approve { once, .. } => once.take(),
        _ => None,
    };
    let Some(once) = once else { return decide(core, command) };
    // Whoever gave much credit must still be able to suspend.
    let emergency =
        matches!(command, Command::Suspend { .. } | Command::Lift { .. } | Command::Approve { .. });
    if once.name.is_empty() || once.name.len() > MAX_ONCE {
        let rule = format!("1 to {MAX_ONCE} bytes");
        return Err(Refusal::Field { field: "idempotency-key", rule });
    }
    let key = (once.account, once.route, once.name.clone());
    if let Some(row) = core.once.get(&key) {
        let same = row.request == once.request;
        return if same { Ok(replay(row)) } else { Err(Refusal::OnceConflict(once.name)) };
    }
    let first = (once.account, "", String::new());
    let kept = core.once.range(first..).take_while(|((account, ..), _)| *account == once.account);
    if !emergency && kept.count() >= MAX_ONCE_KEPT {
        let (what, limit) = ("idempotency keys of an account in seven days", MAX_ONCE_KEPT);
        return Err(Refusal::Limit { what, limit });
    }
    let reply = decide(core, command)?;
    let Once { account, route, name, request } = once;
    let row = OnceRow { account, route, name, request, subject: subject(&reply), at: core.now };
    core.out.batch.once.push(row.clone());
    core.once.insert(key, row);
    Ok(reply)
}

/// What a reply was about: for a submission the job's id, its number and its escrow, 8 big-endian bytes each.
fn subject(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Submitted { job, number, escrow } => {
            [&job.0[..], &number.to_be_bytes(), &escrow.micros().to_be_bytes()].concat()
        }
        Reply::Done { subject } => subject.clone(),
        _ => Vec::new(),
    }
}

fn replay(row: &OnceRow) -> Reply {
    let submitted = || {
        let (job, rest) = row.subject.split_at_checked(32)?;
        let (number, escrow) = rest.split_at_checked(8)?;
        Some(Reply::Submitted {
            job: JobId::from_slice(job)?,
            number: u64::from_be_bytes(number.try_into().ok()?),
            escrow: Amount::new(i64::from_be_bytes(escrow.try_into().ok()?)),
        })
    };
    submitted().unwrap_or_else(|| Reply::Done { subject: row.subject.clone() })
}

fn decide(core: &mut Core, command: Command) -> Result<Reply, Refusal> {
    match command {
        Command::OpenAccount { statement, envelope } => {
            admin::on_open_account(core, &statement, envelope)
        }
        Command::JoinHost { binding, envelope, neighbourhood } => {
            admin::on_join_host(core, &binding, envelope, neighbourhood)
        }
        Command::Rotate { rotation, envelope } => admin::on_rotate(core, &rotation, envelope),
        Command::Revoke { revocation, envelope } => admin::on_revoke(core, &revocation, envelope),
        Command::Approve { by, account, .. } => admin::on_approve(core, by, account),
        Command::Submit { manifest, envelope, by, largest_input, stored, .. } => {
            submit::on_submit(core, (manifest, envelope), by, (largest_input, stored))
        }
        Command::Cancel { job, by, reason, .. } => submit::on_cancel(core, (job, by), &reason),
        Command::Grant { by, to, amount, .. } => admin::on_grant(core, by, to, amount),
        Command::Suspend { by, kind, subject, reason, .. } => {
            admin::on_suspend(core, by, (kind, subject), reason)
        }
        Command::Lift { by, kind, subject, reason, .. } => {
            admin::on_lift(core, by, (kind, subject), reason)
        }
        Command::AddBlob(row) => {
            let subject = row.digest.0.to_vec();
            core.out.batch.blobs.push(row);
            Ok(Reply::Done { subject })
        }
        Command::Keep { job, by, of, reason } => keep::on_keep(core, (job, of), by, reason),
        Command::ReturnLease { attempt } => {
            return_lease(core, attempt);
            Ok(Reply::Done { subject: attempt.0.to_vec() })
        }
        Command::Work { host, .. } => Err(Refusal::UnknownHost(host)),
    }
}

/// Forgets answers under idempotency keys after their time, once an hour.
fn prune(core: &mut Core) {
    if core.now.since(core.once_pruned) >= 3_600 * Micros::SECOND {
        let now = core.now;
        core.once.retain(|_, row| now.since(row.at) < ONCE_KEPT);
        core.once_pruned = now;
    }
}

fn job_events(core: &Core) -> Vec<Event> {
    let jobs = core.out.jobs.iter().filter_map(|id| core.jobs.get(id));
    let event = |job: &Job| {
        let (id, state, totals) = (job.row.id, job.row.state, view::totals(job));
        Event::Job { id, state, totals }
    };
    jobs.map(event).collect()
}

fn job_rows(core: &mut Core) -> (Vec<JobRow>, Vec<PageRow>) {
    let (mut rows, mut pages) = (Vec::new(), Vec::new());
    for id in std::mem::take(&mut core.out.jobs) {
        let Some(job) = core.jobs.get_mut(&id) else { continue };
        job.row.epoch = core.epoch;
        rows.push(job.row.clone());
        page_rows(job, &mut pages);
    }
    (rows, pages)
}

fn page_rows(job: &mut Job, pages: &mut Vec<PageRow>) {
    for page in std::mem::take(&mut job.dirty_pages) {
        let from = page as usize * PAGE_BYTES;
        let states = job.states.get(from..from + PAGE_BYTES).unwrap_or_default().to_vec();
        pages.push(PageRow { job: job.row.id, page, states });
    }
}
