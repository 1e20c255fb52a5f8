//! A small world: accounts, hosts that run tasks honestly or not, and the store between restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use tallymill_engine::rows::{Batch, Identity, JobState, SuspensionKind};
use tallymill_engine::*;
use tallymill_ledger::{Amount, GrantPolicy};
use tallymill_protocol::cbor::{Blob, List, Text};
use tallymill_protocol::work::{Progress, Verdict, VoidCause, VoidEntry};
use tallymill_protocol::*;

use crate::store::Store;

pub const SECOND: u64 = Micros::SECOND;
pub const OPERATOR: AccountId = AccountId([1; 32]);

/// The numbered account; 1 is the operator.
pub fn account(number: u8) -> AccountId {
    AccountId([number; 32])
}

/// The numbered host.
pub fn host(number: u8) -> HostId {
    HostId([number + 100; 32])
}

pub fn identity() -> Identity {
    Identity { network: Network::new("test").unwrap(), coordinator: CoordinatorId([9; 32]) }
}

pub fn signed(signer: [u8; 32], message: &impl Message) -> SignedBytes {
    SignedBytes { payload: Blob(message.to_bytes()), signer: Key(signer), signature: [0; 64] }
}

pub fn config() -> Config {
    let limit = |credits: i64| Amount::new(credits * Amount::CREDIT);
    let issuer = identity().coordinator;
    let grants = GrantPolicy { issuer, per_account: limit(1_000), total: limit(10_000) };
    Config::new(grants, vec![OPERATOR], [7; 32])
}

/// A quorum job of account 2 over `count` numbers, at most 10⁶ fuel a task, for the base tariff.
pub fn manifest(count: u32, policy: Policy) -> Manifest {
    let versions = Versions { meter: 1, costs: Digest::ZERO, profile: PROFILE_VERSION };
    Manifest {
        format: 1,
        network: identity().network,
        coordinators: List(vec![identity().coordinator]),
        delegates: List::default(),
        nonce: Nonce([0; 16]),
        payer: account(2),
        submitter: account(2),
        module: Digest::of(b"module"),
        versions,
        inputs: Inputs::Range { from: 0, count },
        limits: Limits { fuel: 1_000_000, ..Limits::default() },
        seed: [0; 32],
        argv: List::default(),
        environment: List::default(),
        files: List::default(),
        policy,
        tariff: Tariff::default(),
        budget: u64::MAX,
        deadline: Micros(86_400 * SECOND),
        priority: 5,
        tags: List::default(),
        visibility: Visibility::Public,
        requirements: Requirements::default(),
        title: Text("a job".into()),
        interface: Interface::Command,
        steps: None,
    }
}

/// What a host says of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub outcome: Outcome,
    pub fuel: u64,
    pub output: u64,
}

impl Run {
    /// What an honest run of `task` gives.
    pub fn honest(task: u32) -> Self {
        Self { outcome: Outcome::Exited(0), fuel: 1_000 + u64::from(task), output: u64::from(task) }
    }

    pub fn wrong(task: u32, how: u64) -> Self {
        Self { output: 1_000_000 + how, ..Self::honest(task) }
    }

    pub fn stopped(fuel: u64) -> Self {
        Self { outcome: Outcome::Stopped, fuel, output: 0 }
    }
}

pub struct World {
    pub engine: Engine,
    pub store: Store,
    pub config: Config,
    pub now: Micros,
    token: u64,
    pub replies: BTreeMap<u64, Reply>,
    pub events: Vec<Event>,
    /// The batch committed last.
    pub last: Batch,
    sequences: BTreeMap<HostId, (u64, Digest)>,
    salt: u64,
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    /// Accounts 1 (operator) to 9 are open; 2 has 100 credits.
    pub fn with(config: Config) -> Self {
        let mut store = Store::default();
        let now = Micros(1_000 * SECOND);
        let snapshot = store.load();
        let engine = Engine::new(identity(), config.clone(), snapshot, now).unwrap();
        let mut world = Self {
            engine,
            store,
            config,
            now,
            token: 0,
            replies: BTreeMap::new(),
            events: Vec::new(),
            last: Batch::default(),
            sequences: BTreeMap::new(),
            salt: 0,
        };
        for number in 1..10 {
            let _ = world.open(number);
        }
        let _ = world.grant(2, 100 * Amount::CREDIT);
        world
    }

    /// Accounts 1 to 9 with one host each, of the same numbers, from number 3 on.
    pub fn with_hosts(count: u8) -> Self {
        let mut world = Self::new();
        (3..3 + count).for_each(|number| world.join(number, number));
        world
    }

    /// Sends a command, commits, and gives the reply when there is one.
    pub fn send(&mut self, command: Command) -> Option<Reply> {
        let token = self.post(command);
        self.flush();
        self.replies.remove(&token)
    }

    /// Queues a command without committing.
    pub fn post(&mut self, command: Command) -> u64 {
        self.token += 1;
        self.engine.handle(Token(self.token), command, self.now);
        self.token
    }

    /// Ends the batch: dispatch, commit, deliver, check.
    pub fn flush(&mut self) {
        self.engine.dispatch(self.now);
        let step = self.engine.take(self.now);
        self.store.apply(&step.batch);
        self.store.check();
        self.check_reserved();
        self.last = step.batch;
        self.events.extend(step.events);
        for (Token(token), reply) in step.replies {
            let known = self.replies.insert(token, reply);
            assert!(known.is_none(), "one reply per call");
        }
    }

    fn check_reserved(&self) {
        for job in self.store.jobs.keys() {
            let Some(view) = self.engine.job(*job) else { continue };
            let escrow = self.store.escrow(*job);
            assert!(view.reserved.micros() <= escrow, "{} of {escrow} reserved", view.reserved);
        }
    }

    /// Moves time on and lets the engine know.
    pub fn pass(&mut self, micros: u64) {
        self.now = self.now.plus(micros);
        self.engine.handle_timeout(self.now);
        self.flush();
    }

    /// A new process with what was committed.
    pub fn restart(&mut self) {
        let snapshot = self.store.load();
        self.replies.clear();
        self.engine = Engine::new(identity(), self.config.clone(), snapshot, self.now).unwrap();
        self.flush();
    }

    pub fn open(&mut self, number: u8) -> Option<Reply> {
        let id = account(number);
        let statement = AccountStatement {
            format: 1,
            network: identity().network,
            account: id,
            recovery: Digest::of(&[number + 50; 32]),
            issued: self.now,
        };
        let envelope = signed(id.0, &statement);
        self.send(Command::OpenAccount { statement, envelope })
    }

    /// The withdrawal of a host by an owner.
    pub fn revocation(number: u8, owner: u8) -> Command {
        let revocation = Revocation {
            format: 1,
            network: identity().network,
            owner: account(owner),
            host: host(number),
            issued: Micros(0),
        };
        let envelope = signed(account(owner).0, &revocation);
        Command::Revoke { revocation, envelope }
    }

    pub fn binding(&self, number: u8, owner: u8) -> Command {
        let binding = HostBinding {
            format: 1,
            network: identity().network,
            host: host(number),
            owner: account(owner),
            issued: self.now,
            expiry: self.now.plus(MAX_BINDING),
        };
        let envelope = signed(account(owner).0, &binding);
        Command::JoinHost { binding, envelope, neighbourhood: None }
    }

    pub fn join(&mut self, number: u8, owner: u8) {
        let reply = self.send(self.binding(number, owner));
        assert!(matches!(reply, Some(Reply::Host { sequence: 0, .. })), "{reply:?}");
    }

    pub fn grant(&mut self, to: u8, micros: i64) -> Option<Reply> {
        let amount = Amount::new(micros);
        self.send(Command::Grant { by: OPERATOR, to: account(to), amount, once: None })
    }

    pub fn submission(manifest: &Manifest) -> Command {
        let envelope = signed(manifest.submitter.0, manifest);
        let (manifest, by) = (Box::new(manifest.clone()), manifest.submitter);
        Command::Submit { manifest, envelope, by, largest_input: 0, stored: None, once: None }
    }

    pub fn submit(&mut self, manifest: &Manifest) -> JobId {
        match self.send(Self::submission(manifest)) {
            Some(Reply::Submitted { job, .. }) => job,
            other => panic!("not submitted: {other:?}"),
        }
    }

    pub fn quorum(&mut self, count: u32) -> JobId {
        self.submit(&manifest(count, Policy::Quorum { n: 2 }))
    }

    pub fn refused(&mut self, command: Command) -> Refusal {
        match self.send(command) {
            Some(Reply::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn ask() -> Ask {
        Ask { slots: 1, buffer: 10 * SECOND, ..Ask::default() }
    }

    pub fn call(&self, number: u8, ask: Ask, reports: Vec<CheckedReport>) -> Command {
        Command::Work { host: host(number), neighbourhood: None, ask: Box::new(ask), reports }
    }

    pub fn work(&mut self, number: u8, ask: Ask, reports: Vec<CheckedReport>) -> WorkAnswer {
        match self.send(self.call(number, ask, reports)) {
            Some(Reply::Work(answer)) => answer,
            other => panic!("no answer to work: {other:?}"),
        }
    }

    /// The call of a host with one slot from the numbered neighbourhood.
    pub fn work_from(&mut self, place: u8, number: u8, reports: Vec<CheckedReport>) -> WorkAnswer {
        let (host, ask) = (host(number), Box::new(Self::ask()));
        let neighbourhood = Some([place; 8]);
        match self.send(Command::Work { host, neighbourhood, ask, reports }) {
            Some(Reply::Work(answer)) => answer,
            other => panic!("no answer to work: {other:?}"),
        }
    }

    /// Leases for a host with one slot.
    pub fn lease(&mut self, number: u8) -> Vec<Lease> {
        let answer = self.work(number, Self::ask(), Vec::new());
        answer.grants.into_iter().map(|granted| granted.lease).collect()
    }

    /// Leases for a host with many slots: more tasks.
    pub fn lease_wide(&mut self, number: u8, slots: u32) -> Vec<Lease> {
        let answer = self.work(number, Ask { slots, ..Self::ask() }, Vec::new());
        answer.grants.into_iter().map(|granted| granted.lease).collect()
    }

    pub fn reasons(&mut self, number: u8) -> String {
        let answer = self.work(number, Self::ask(), Vec::new());
        assert!(answer.grants.is_empty(), "got {:?}", answer.grants);
        answer.reasons.join("; ")
    }

    pub fn receipt(&mut self, lease: &Lease, task: u32, run: Run) -> CheckedReceipt {
        self.salt += 1;
        let mut salt = [0; 32];
        salt[..8].copy_from_slice(&self.salt.to_be_bytes());
        let receipt = Receipt {
            format: 1,
            lease: lease.digest(),
            task: TaskIndex(task),
            input: Digest::ZERO,
            output: Digest::of(&run.output.to_be_bytes()),
            outcome: run.outcome,
            fuel: run.fuel,
            peak_memory: 65_536,
            memory_fuel: run.fuel,
            bytes_in: 3,
            bytes_out: 8,
            module: lease.module,
            metered: Digest::ZERO,
            log: Digest::ZERO,
            segment: None,
            engine: Text("test".into()),
            cpu_time: 1_000,
            started: self.now,
            finished: self.now,
            salt,
        };
        let (bytes, lease) = (receipt.to_bytes(), Arc::new(lease.clone()));
        CheckedReceipt { receipt, bytes, lease, output: Some(vec![1]), log: None, refused: None }
    }

    /// The next report of a host over these receipts. Its sequence is that of the host's own outbox.
    pub fn report(&mut self, number: u8, receipts: Vec<CheckedReceipt>) -> CheckedReport {
        let id = host(number);
        let (sequence, previous) = self.sequences.get(&id).copied().unwrap_or((0, Digest::ZERO));
        let leaves: Vec<_> = receipts.iter().map(|one| merkle::leaf(&one.bytes)).collect();
        let report = Report {
            format: 1,
            network: identity().network,
            host: id,
            count: u32::try_from(receipts.len()).unwrap(),
            root: merkle::root(&leaves),
            sequence,
            previous,
            coordinator: identity().coordinator,
            epoch: receipts.first().map_or(0, |one| one.lease.epoch),
        };
        self.sequences.insert(id, (sequence + 1, report.digest()));
        let envelope = signed(id.0, &report);
        CheckedReport { report, envelope, receipts, leases: Vec::new(), known: None }
    }

    pub fn send_report(&mut self, number: u8, report: CheckedReport) -> Answer {
        let mut answer = self.work(number, Ask::default(), vec![report]);
        answer.answers.remove(0)
    }

    /// Reports these runs under a lease.
    pub fn report_runs(&mut self, number: u8, lease: &Lease, runs: &[(u32, Run)]) -> Answer {
        let receipts = runs.iter().map(|(task, run)| self.receipt(lease, *task, *run)).collect();
        let report = self.report(number, receipts);
        self.send_report(number, report)
    }

    /// Reports a lease's tasks, run by `run`.
    pub fn finish(&mut self, number: u8, lease: &Lease, run: impl Fn(u32) -> Run) -> Vec<Verdict> {
        let tasks = lease.first.0..lease.first.0 + lease.count;
        let runs: Vec<_> = tasks.map(|task| (task, run(task))).collect();
        self.report_runs(number, lease, &runs).verdicts
    }

    /// Lets hosts work honestly until none of them gets anything.
    pub fn drain(&mut self, hosts: &[u8]) {
        loop {
            let mut idle = true;
            for number in hosts {
                for lease in self.lease_wide(*number, 4) {
                    idle = false;
                    self.finish(*number, &lease, Run::honest);
                }
            }
            if idle {
                return;
            }
        }
    }

    pub fn void(&mut self, number: u8, lease: &Lease, task: u32, cause: VoidCause) {
        let entry = VoidEntry {
            attempt: lease.attempt,
            task: TaskIndex(task),
            cause: cause as u8,
            detail: Text(String::new()),
        };
        self.work(number, Ask { voids: vec![entry], ..Ask::default() }, Vec::new());
    }

    pub fn progress(&mut self, number: u8, lease: &Lease) -> WorkAnswer {
        self.heartbeat(number, lease, 0)
    }

    pub fn heartbeat(&mut self, number: u8, lease: &Lease, fuel: u64) -> WorkAnswer {
        let entry = Progress { attempt: lease.attempt, tasks: 0, fuel };
        self.work(number, Ask { progress: vec![entry], ..Ask::default() }, Vec::new())
    }

    pub fn cancel(&mut self, job: JobId) -> Option<Reply> {
        let (by, reason) = (account(2), String::new());
        self.send(Command::Cancel { job, by, reason, once: None })
    }

    pub fn suspend(&mut self, kind: SuspensionKind, subject: [u8; 32]) -> Option<Reply> {
        let reason = "because".to_owned();
        self.send(Command::Suspend { by: OPERATOR, kind, subject, reason, once: None })
    }

    pub fn state(&self, job: JobId) -> JobState {
        self.store.jobs[&job].state
    }

    pub fn cause(&self, job: JobId, task: u32) -> Option<String> {
        self.store.tasks.get(&(job, TaskIndex(task)))?.cause.clone()
    }
}
