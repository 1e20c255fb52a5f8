//! The hot state: live jobs with their slots, leases in force, hosts, accounts and balances.
//!
//! Maps are ordered, so equal commands give equal decisions. A job costs two bits a task; only tasks with an open attempt,
//! a result that waits or a failed attempt have a [`Slot`].

use std::collections::{BTreeMap, BTreeSet};

use tallymill_ledger::{Amount, Balances, Held, JobAccounts, Payee, Reservation};
use tallymill_protocol::{
    AccountId, AttemptId, Digest, HostId, JobId, Manifest, Micros, Nonce, Outcome, Policy, Receipt,
    Segment, TaskIndex, digest_in_context,
};

use crate::api::{Ask, Config, Reply, Token};
use crate::chain::Chain;
use crate::lease::patience;
use crate::out::Out;
use crate::recent::{Ended, Recent};
use crate::rows::{
    AccountRow, Counters, FaultKind, HostRow, Identity, JobRow, JobState, LeaseRow, OnceRow,
    SuspensionKind, SuspensionRow,
};

/// Names of the rows under one idempotency key.
pub type OnceKey = (AccountId, &'static str, String);

/// Everything the engine decides on.
#[derive(Debug)]
pub struct Core {
    pub identity: Identity,
    pub config: Config,
    pub epoch: u64,
    /// Never moves back.
    pub now: Micros,
    pub sequence: u64,
    pub counters: Counters,
    /// Draws made from `config.random` since the load.
    pub draws: u64,
    /// The commit that was loaded. What is drawn leaves only with a later one, so no other load draws the same.
    pub loaded: u64,
    pub accounts: BTreeMap<AccountId, AccountRow>,
    pub hosts: BTreeMap<HostId, Host>,
    pub jobs: BTreeMap<JobId, Job>,
    pub payers: BTreeMap<AccountId, Payer>,
    pub leases: BTreeMap<AttemptId, Live>,
    pub expiries: BTreeSet<(Micros, AttemptId)>,
    pub deadlines: BTreeSet<(Micros, JobId)>,
    pub suspensions: BTreeMap<(SuspensionKind, [u8; 32]), SuspensionRow>,
    pub once: BTreeMap<OnceKey, OnceRow>,
    pub once_pruned: Micros,
    pub recent: Recent,
    pub ended: Ended,
    pub waiting: BTreeMap<HostId, Waiter>,
    pub waits: BTreeSet<(Micros, HostId)>,
    /// Whether something happened that may give a waiting host work.
    pub stirred: bool,
    /// When a task that waits for a better host may go to any.
    pub relax_at: Option<Micros>,
    /// When this engine was loaded.
    pub started: Micros,
    /// Hosts heard of lately, and when they were counted.
    pub active: (usize, Micros),
    pub balances: Balances,
    pub out: Out,
}

/// A host, with what is not worth storing.
#[derive(Debug)]
pub struct Host {
    pub row: HostRow,
    pub near: Option<[u8; 8]>,
    pub leases: BTreeSet<AttemptId>,
    /// When its row was last written.
    pub written: Micros,
}

/// Who pays, and how much of the network is at work for them: what fair share compares.
#[derive(Debug, Default)]
pub struct Payer {
    /// Running jobs: 9 − priority, number, id.
    pub queue: BTreeSet<(u8, u64, JobId)>,
    /// Jobs running or stopping.
    pub live: usize,
    /// Fuel that leases in force are expected to use.
    pub in_flight: u64,
    /// Fuel used lately; halves every ten minutes.
    pub recent: u64,
    /// When it last halved.
    pub halved: Micros,
}

/// A job running or stopping.
#[derive(Debug)]
pub struct Job {
    pub row: JobRow,
    pub manifest: Box<Manifest>,
    pub accounts: JobAccounts,
    /// The most that the first result of a task can cost.
    pub each: Amount,
    /// Two bits a task.
    pub states: Vec<u8>,
    pub dirty_pages: BTreeSet<u32>,
    /// Tasks from here on never had a lease, unless they have a slot.
    pub cursor: u32,
    /// Tasks below the cursor that need another host.
    pub again: BTreeSet<u32>,
    pub slots: BTreeMap<u32, Slot>,
    pub reserved: Amount,
    /// Leases in force.
    pub leases: usize,
    /// What a stopping job becomes.
    pub end: JobState,
    /// Running average of a task's time, µs × 1,024; 0 before the first result.
    pub time: u64,
    /// Running average of a task's fuel.
    pub fuel: u64,
    /// Tasks per slot of the longest lease so far.
    pub per_slot: u32,
    /// Hosts with a result, which have compiled the module.
    pub compiled: BTreeSet<HostId>,
    /// What this batch pays.
    pub earned: BTreeMap<Payee, Vec<Earned>>,
}

/// A result that is paid: its task and segment, its price and its leaf.
pub type Earned = ((u32, u32), Amount, Digest);

/// A task with something open.
#[derive(Debug, Default)]
pub struct Slot {
    /// Where a long task stands; `None` at its start.
    pub chain: Option<Box<Chain>>,
    pub holders: Vec<Holder>,
    pub results: Vec<Vote>,
    /// At most `owner_faults` of each owner.
    pub faults: Vec<Fault>,
    /// Since when it waits for another host.
    pub since: Micros,
}

/// A host had a task and gave no result.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub owner: AccountId,
    pub kind: FaultKind,
}

/// A host that runs a task.
#[derive(Debug, Clone, Copy)]
pub struct Holder {
    pub attempt: AttemptId,
    pub host: HostId,
    pub owner: AccountId,
    pub near: Option<[u8; 8]>,
    /// Whether its lease was given although a neighbour was at the task.
    pub relaxed: bool,
    /// What its lease reserved for the task.
    pub reserved: Amount,
}

/// A result that waits for others: what a vote compares, and what it costs.
#[derive(Debug, Clone, Copy)]
pub struct Vote {
    pub host: HostId,
    pub owner: AccountId,
    pub near: Option<[u8; 8]>,
    pub outcome: Outcome,
    pub output: Digest,
    pub output_bytes: u64,
    pub fuel: u64,
    pub segment: Option<Segment>,
    pub measured: Measured,
    pub amount: Amount,
    pub leaf: Digest,
}

/// What else is deterministic in a receipt: the price and a re-execution depend on it, so votes compare it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    input: Digest,
    metered: Digest,
    bytes_in: u64,
    peak_memory: u64,
    memory_fuel: u64,
}

impl Measured {
    pub const fn of(receipt: &Receipt) -> Self {
        Self {
            input: receipt.input,
            metered: receipt.metered,
            bytes_in: receipt.bytes_in,
            peak_memory: receipt.peak_memory,
            memory_fuel: receipt.memory_fuel,
        }
    }
}

impl Vote {
    /// The vote of a receipt.
    pub const fn of(receipt: &Receipt, by: Payee, amount: Amount, leaf: Digest) -> Self {
        Self {
            host: by.host,
            owner: by.owner,
            near: None,
            outcome: receipt.outcome,
            output: receipt.output,
            output_bytes: receipt.bytes_out,
            fuel: receipt.fuel,
            segment: receipt.segment,
            measured: Measured::of(receipt),
            amount,
            leaf,
        }
    }

    pub fn agrees_with(&self, other: &Self) -> bool {
        let result =
            |vote: &Self| (vote.outcome, vote.output, vote.fuel, vote.segment, vote.measured);
        result(self) == result(other)
    }

    /// Its segment; 0 where the task is not divided.
    pub fn index(&self) -> u32 {
        index_of(self.segment)
    }
}

/// The position of a segment; 0 where a task is not divided.
pub fn index_of(segment: Option<Segment>) -> u32 {
    segment.map_or(0, |segment| segment.index)
}

/// A lease in force.
#[derive(Debug)]
pub struct Live {
    pub row: LeaseRow,
    /// Tasks that are neither reported nor decided.
    pub open: u32,
    /// Whether its host is told to stop.
    pub stop: bool,
    /// Fuel each task is expected to use.
    pub weight: u64,
    /// How long it is renewed for, µs.
    pub term: u64,
    /// Tasks that its host can run at once.
    pub width: u64,
    /// When its host last said how much fuel it used, and how much of that can be true.
    pub heard: (Micros, u64),
    /// When that fuel last grew, or a receipt was taken.
    pub moved: Micros,
    /// Fuel of the receipts taken so far.
    pub claimed: u64,
}

impl Live {
    /// A lease before its tasks are held.
    pub fn new(row: LeaseRow, term: u64, width: u32) -> Self {
        let (width, heard) = (u64::from(width.min(row.count).max(1)), (row.issued, 0));
        let moved = row.issued;
        Self { row, open: 0, stop: false, weight: 1, term, width, heard, moved, claimed: 0 }
    }

    /// Notes what its host says it used.
    pub fn hear(&mut self, now: Micros, fuel: u64) {
        let fuel = fuel.min(self.plausible(now)).max(self.heard.1);
        if fuel > self.heard.1 {
            self.moved = now;
        }
        self.heard = (now, fuel);
    }

    /// Notes that another lease of its host moves: one that has not begun waits behind that.
    pub const fn queue(&mut self, now: Micros) {
        if self.heard.1 == 0 && self.claimed == 0 {
            self.moved = now;
        }
    }

    /// Whether heartbeats renew it no longer: its host has told of no progress for too long.
    pub const fn is_stalled(&self, now: Micros) -> bool {
        now.since(self.moved) > patience(self.term)
    }

    /// The most fuel its host can have used: what it last said and, since then, what the fastest machine can do.
    pub fn plausible(&self, now: Micros) -> u64 {
        let (at, fuel) = self.heard;
        fuel.saturating_add(most_fuel(now.since(at)).saturating_mul(self.width))
    }
}

/// Fuel that no machine exceeds per µs on one core. Ordinary guests do 50,000 to 150,000 by the second cost table; the rest is for
/// guests whose operators happen to be cheaper than their class, and for machines to come.
const FASTEST: u64 = 2_000_000;

/// The most fuel that one task can use in this time, µs; one slice of 2²² more, since hosts count in slices.
pub const fn most_fuel(time: u64) -> u64 {
    time.saturating_mul(FASTEST).saturating_add(1 << 22)
}

/// A host that waits for something to say.
#[derive(Debug)]
pub struct Waiter {
    pub token: Token,
    pub ask: Box<Ask>,
    pub until: Micros,
}

impl Job {
    /// 0 pending, 1 provisional, 2 final, 3 failed.
    pub fn state_of(&self, task: u32) -> u8 {
        let byte = self.states.get((task / 4) as usize).copied().unwrap_or(0);
        byte >> (task % 4 * 2) & 3
    }

    pub fn set_state(&mut self, task: u32, state: u8) {
        if let Some(byte) = self.states.get_mut((task / 4) as usize) {
            *byte = *byte & !(3 << (task % 4 * 2)) | (state & 3) << (task % 4 * 2);
            self.dirty_pages.insert(task / crate::rows::PAGE_TASKS);
        }
    }

    pub const fn decided(&self) -> u32 {
        self.row.final_tasks + self.row.failed_tasks + self.row.provisional_tasks
    }

    pub fn is_running(&self) -> bool {
        self.row.state == JobState::Running
    }

    /// Results that must agree.
    pub const fn copies(&self) -> usize {
        self.manifest.policy.replicas() as usize
    }

    pub const fn is_trusted(&self) -> bool {
        matches!(self.manifest.policy, Policy::Trusted)
    }

    pub const fn budget(&self) -> Reservation {
        Reservation { budget: self.row.escrow, spent: self.row.spent, reserved: self.reserved }
    }

    pub const fn held(&self) -> Held {
        Held {
            granted: self.row.held_granted,
            earned: Amount::new(
                self.row.escrow.micros().saturating_sub(self.row.held_granted.micros()),
            ),
        }
    }

    /// Whether any task may wait for a host.
    pub fn has_waiting(&self) -> bool {
        self.cursor < self.row.tasks || !self.again.is_empty()
    }

    /// Hosts that `task` needs beyond those that run it now.
    pub fn wanted(&self, task: u32) -> usize {
        let Some(slot) = self.slots.get(&task) else { return self.copies() };
        (self.copies() - slot.best()).saturating_sub(slot.holders.len())
    }

    /// Puts `task` among those that need another host, or takes it away.
    pub fn refresh(&mut self, task: u32, now: Micros) {
        let open = self.is_running() && self.state_of(task) == 0;
        if !open || self.wanted(task) == 0 {
            self.again.remove(&task);
        } else if self.again.insert(task)
            && let Some(slot) = self.slots.get_mut(&task)
        {
            slot.since = now;
        }
    }

    /// Learns from a result how long a task takes and how much fuel it uses.
    pub fn learn(&mut self, cpu_time: u64, fuel: u64) {
        // A host's clock is only its word.
        let sample = cpu_time.max(fuel / FASTEST).clamp(1, 30 * Micros::DAY) << 10;
        let mix = |old: u64, new: u64| if old == 0 { new } else { old - old / 8 + new / 8 };
        self.time = mix(self.time, sample).max(1);
        self.fuel = mix(self.fuel, fuel.max(1)).max(1);
    }
}

impl Slot {
    /// Results in the largest group that agrees.
    pub fn best(&self) -> usize {
        let group = |one: &Vote| self.results.iter().filter(|other| one.agrees_with(other)).count();
        self.results.iter().map(group).max().unwrap_or(0)
    }

    pub fn has_owner(&self, owner: AccountId) -> bool {
        self.holders.iter().any(|holder| holder.owner == owner) || self.voted(owner)
    }

    pub fn voted(&self, owner: AccountId) -> bool {
        self.results.iter().any(|result| result.owner == owner)
    }

    pub fn faults_of(&self, owner: AccountId) -> usize {
        self.faults.iter().filter(|fault| fault.owner == owner).count()
    }

    /// Owners with a fault of one of these kinds: one owner with many hosts is one.
    pub fn owners_at_fault(&self, kinds: &[FaultKind]) -> usize {
        let owners = self.faults.iter().filter(|fault| kinds.contains(&fault.kind));
        owners.map(|fault| fault.owner).collect::<BTreeSet<_>>().len()
    }

    /// Whether a host of another owner in this neighbourhood is or was at it.
    pub fn is_near(&self, near: Option<[u8; 8]>, owner: AccountId) -> bool {
        let holders = self.holders.iter().map(|holder| (holder.owner, holder.near));
        let results = self.results.iter().map(|result| (result.owner, result.near));
        holders.chain(results).any(|(other, at)| near.is_some() && at == near && other != owner)
    }
}

impl Payer {
    const HALF_LIFE: u64 = 600 * Micros::SECOND;

    /// Fuel in flight and used lately.
    pub fn share(&mut self, now: Micros) -> u64 {
        let halvings = now.since(self.halved) / Self::HALF_LIFE;
        if halvings > 0 {
            self.recent =
                self.recent.checked_shr(u32::try_from(halvings).unwrap_or(64)).unwrap_or(0);
            self.halved = self.halved.plus(halvings * Self::HALF_LIFE);
        }
        self.in_flight.saturating_add(self.recent)
    }
}

impl Core {
    fn draw(&mut self, kind: &str) -> [u8; 16] {
        self.draws += 1;
        let numbers = [self.epoch, self.loaded, self.draws].map(u64::to_be_bytes).concat();
        let digest = digest_in_context(kind, &[&self.config.random, &numbers]);
        let mut drawn = [0; 16];
        drawn.copy_from_slice(&digest.0[..16]);
        drawn
    }

    pub fn draw_nonce(&mut self) -> Nonce {
        Nonce(self.draw("engine-nonce"))
    }

    /// A uuid of version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, then drawn bits.
    pub fn draw_attempt(&mut self) -> AttemptId {
        let mut id = self.draw("engine-attempt");
        id[..6].copy_from_slice(&(self.now.0 / 1_000).to_be_bytes()[2..]);
        id[6] = id[6] & 0x0f | 0x70;
        id[8] = id[8] & 0x3f | 0x80;
        AttemptId(id)
    }

    pub fn reply(&mut self, token: Token, reply: Reply) {
        self.out.replies.push((token, reply));
    }

    pub fn suspension(&self, kind: SuspensionKind, subject: &[u8; 32]) -> Option<&str> {
        self.suspensions.get(&(kind, *subject)).map(|row| row.reason.as_str())
    }

    /// Hosts heard of within two heartbeats; counted anew at most once a second.
    pub fn active_hosts(&mut self) -> usize {
        if self.now.since(self.active.1) >= Micros::SECOND || self.active.0 == 0 {
            self.active = (self.hosts.values().filter(|it| self.is_active(it)).count(), self.now);
        }
        self.active.0
    }

    /// Heard of within two heartbeats, as far as is known so soon after a start: rows may be ten minutes behind.
    pub fn is_active(&self, host: &Host) -> bool {
        let grace = 2 * self.config.heartbeat;
        let rows = if self.now.since(self.started) <= grace { crate::work::NOTED } else { 0 };
        self.now.since(host.row.seen) <= grace + rows && host.row.revoked_at.is_none()
    }
}

/// The sum, at most the largest amount.
pub fn add(left: Amount, right: Amount) -> Amount {
    left.plus(right).unwrap_or(Amount::MAX)
}

/// The difference, at least nothing.
pub fn less(left: Amount, right: Amount) -> Amount {
    left.minus(right).unwrap_or_default().max(Amount::ZERO)
}

/// `each` for `count` tasks, at most the largest amount.
pub fn times(each: Amount, count: u32) -> Amount {
    Amount::new(each.micros().saturating_mul(i64::from(count)))
}

/// The tasks of a lease.
pub fn tasks_of(row: &LeaseRow) -> std::ops::Range<u32> {
    let TaskIndex(first) = row.first;
    first..first.saturating_add(row.count)
}
