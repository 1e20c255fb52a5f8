//! A store of the test's own: applies batches, gives snapshots, and checks what no batch may break.

use std::collections::{BTreeMap, BTreeSet};

use tallymill_engine::rows::*;
use tallymill_ledger::{AccountKey, AccountKind, Amount, TransferKind};
use tallymill_protocol::{AccountId, AttemptId, Digest, HostId, JobId, TaskIndex};

#[derive(Debug, Default, Clone)]
pub struct Store {
    pub sequence: u64,
    pub snapshot: Snapshot,
    pub accounts: BTreeMap<AccountId, AccountRow>,
    pub hosts: BTreeMap<HostId, HostRow>,
    pub jobs: BTreeMap<JobId, JobRow>,
    pub pages: BTreeMap<(JobId, u32), PageRow>,
    pub leases: BTreeMap<AttemptId, LeaseRow>,
    pub reports: BTreeMap<Digest, ReportRow>,
    pub replicas: BTreeMap<(JobId, TaskIndex, u32, HostId), ReplicaRow>,
    pub segments: BTreeMap<(JobId, TaskIndex, u32), SegmentRow>,
    pub tasks: BTreeMap<(JobId, TaskIndex), TaskRow>,
    pub voids: Vec<VoidRow>,
    pub transfers: Vec<TransferRow>,
    pub balances: BTreeMap<AccountKey, BalanceRow>,
    pub suspensions: BTreeMap<(SuspensionKind, [u8; 32]), SuspensionRow>,
    pub once: Vec<OnceRow>,
    pub admin: Vec<AdminRow>,
    pub keys: Vec<KeyRow>,
}

fn next(last: &mut u64, id: u64) {
    assert_eq!(id, *last + 1, "numbers have no gaps");
    *last = id;
}

impl Store {
    pub fn apply(&mut self, batch: &Batch) {
        if batch.is_empty() {
            assert_eq!(batch.sequence, self.sequence);
            return;
        }
        next(&mut self.sequence, batch.sequence);
        self.apply_rows(batch);
        self.apply_work(batch);
        self.apply_money(batch);
        self.snapshot.sequence = batch.sequence;
        self.snapshot.now = self.snapshot.now.max(batch.now);
    }

    fn apply_rows(&mut self, batch: &Batch) {
        let counters = &mut self.snapshot.counters;
        batch.admin.iter().for_each(|row| next(&mut counters.admin, row.id));
        batch.keys.iter().for_each(|row| next(&mut counters.key, row.id));
        batch.voids.iter().for_each(|row| next(&mut counters.void, row.id));
        self.accounts.extend(batch.accounts.iter().map(|row| (row.id, row.clone())));
        self.hosts.extend(batch.hosts.iter().map(|row| (row.id, row.clone())));
        for row in &batch.jobs {
            counters.job = counters.job.max(row.number);
            let known = self.jobs.insert(row.id, row.clone());
            assert!(known.is_none_or(|known| known.number == row.number), "a job is taken once");
        }
        self.pages.extend(batch.pages.iter().map(|row| ((row.job, row.page), row.clone())));
        self.voids.extend(batch.voids.iter().cloned());
        self.admin.extend(batch.admin.iter().cloned());
        self.keys.extend(batch.keys.iter().cloned());
        self.once.extend(batch.once.iter().cloned());
        batch.lifted.iter().for_each(|key| drop(self.suspensions.remove(key)));
        let suspensions = batch.suspensions.iter().cloned();
        self.suspensions.extend(suspensions.map(|row| ((row.kind, row.subject), row)));
    }

    fn apply_work(&mut self, batch: &Batch) {
        self.leases.extend(batch.leases.iter().map(|row| (row.attempt, row.clone())));
        batch.closed_leases.iter().for_each(|attempt| {
            self.leases.remove(attempt);
        });
        for row in &batch.reports {
            next(&mut self.snapshot.counters.log, row.log_index);
            assert_eq!(row.leaves.len(), row.receipts as usize);
            assert_eq!(row.verdicts.len(), row.receipts as usize);
            assert!(self.reports.insert(row.root, row.clone()).is_none(), "a root is taken once");
        }
        for row in &batch.replicas {
            let key = (row.job, row.task, row.segment, row.host);
            let known = self.replicas.insert(key, row.clone());
            assert!(known.is_none(), "a host has one result of a segment of a task");
        }
        for change in &batch.moves {
            let row = self
                .replicas
                .get_mut(&(change.job, change.task, change.segment, change.host))
                .unwrap();
            assert_eq!(row.state, ReplicaState::Reported, "only waiting results move");
            (row.state, row.near) = (change.state, None);
        }
        for row in &batch.segments {
            self.check_segment(row);
            self.segments.insert((row.job, row.task, row.segment), row.clone());
        }
        for row in &batch.tasks {
            next(&mut self.snapshot.counters.task, row.sequence);
            let known = self.tasks.insert((row.job, row.task), row.clone());
            assert!(known.is_none(), "a task is decided once");
        }
    }

    /// Segments of a task come one after another, and each goes on where the one before ended.
    fn check_segment(&self, row: &SegmentRow) {
        let key = |segment| (row.job, row.task, segment);
        assert!(!self.segments.contains_key(&key(row.segment)), "a segment is agreed on once");
        let before = row.segment.checked_sub(1).map(|before| &self.segments[&key(before)]);
        assert!(row.fuel > before.map_or(0, |before| before.fuel));
        assert!(!self.tasks.contains_key(&(row.job, row.task)), "a decided task goes no further");
    }

    /// The last agreed segment of every task that is not decided.
    fn chains(&self) -> Vec<SegmentRow> {
        let last: BTreeMap<_, _> =
            self.segments.values().map(|row| ((row.job, row.task), row.clone())).collect();
        let open = |row: &SegmentRow| {
            self.live(&row.job) && !self.tasks.contains_key(&(row.job, row.task))
        };
        last.into_values().filter(open).collect()
    }

    fn apply_money(&mut self, batch: &Batch) {
        let mut groups = BTreeSet::new();
        for row in &batch.transfers {
            next(&mut self.snapshot.counters.transfer, row.id);
            let transfer = &row.transfer;
            if transfer.host.is_some() {
                let group = (transfer.job, transfer.host, transfer.kind.name());
                assert!(groups.insert(group), "one transfer per batch, job, host and kind");
            }
            self.transfers.push(row.clone());
        }
        self.balances.extend(batch.balances.iter().map(|row| (row.account, row.clone())));
    }

    fn live(&self, job: &JobId) -> bool {
        let state = self.jobs.get(job).map(|row| row.state);
        matches!(state, Some(JobState::Running | JobState::Stopping))
    }

    /// What a start would read; the epoch is one more than before.
    pub fn load(&mut self) -> Snapshot {
        self.snapshot.epoch += 1;
        let earn = |row: &&TransferRow| row.transfer.kind == TransferKind::Earn;
        let pair = |row: &TransferRow| Some((row.transfer.job?, row.transfer.host?));
        let paid: BTreeSet<_> = self.transfers.iter().filter(earn).filter_map(pair).collect();
        let waits = |row: &&ReplicaRow| row.state == ReplicaState::Reported && self.live(&row.job);
        Snapshot {
            accounts: self.accounts.values().cloned().collect(),
            hosts: self.hosts.values().cloned().collect(),
            jobs: self.jobs.values().filter(|row| self.live(&row.id)).cloned().collect(),
            pages: self.pages.values().filter(|row| self.live(&row.job)).cloned().collect(),
            leases: self.leases.values().cloned().collect(),
            replicas: self.replicas.values().filter(waits).cloned().collect(),
            segments: self.chains(),
            voids: self.voids.iter().filter(|row| self.live(&row.job)).cloned().collect(),
            paid: paid.into_iter().filter(|(job, _)| self.live(job)).collect(),
            balances: self.balances.values().cloned().collect(),
            suspensions: self.suspensions.values().cloned().collect(),
            once: self.once.clone(),
            ..self.snapshot.clone()
        }
    }

    pub fn balance(&self, find: impl Fn(&AccountKind) -> bool) -> i64 {
        let found = self.balances.values().filter(|row| find(&row.account.kind));
        found.map(|row| row.amount.micros()).sum()
    }

    pub fn available(&self, account: AccountId) -> i64 {
        self.balance(|kind| *kind == AccountKind::Available { owner: account })
    }

    pub fn granted(&self, account: AccountId) -> i64 {
        self.balance(|kind| *kind == AccountKind::Granted { owner: account })
    }

    pub fn escrow(&self, job: JobId) -> i64 {
        self.balance(|kind| *kind == AccountKind::Escrow { job })
    }

    /// Everything that must hold after every batch, computed from rows alone.
    pub fn check(&self) {
        let sum: i64 = self.balances.values().map(|row| row.amount.micros()).sum();
        assert_eq!(sum, 0, "credit sums to zero");
        let mut derived: BTreeMap<AccountKey, i64> = BTreeMap::new();
        for row in &self.transfers {
            let amount = row.transfer.amount.micros();
            assert!(amount > 0 && row.transfer.is_well_formed());
            *derived.entry(row.transfer.debit).or_default() -= amount;
            *derived.entry(row.transfer.credit).or_default() += amount;
        }
        for (account, amount) in derived {
            assert_eq!(self.balances[&account].amount.micros(), amount, "{account}");
            let floor = account.kind.floor().unwrap_or(Amount::new(i64::MIN));
            assert!(amount >= floor.micros(), "{account} below its floor");
        }
        self.jobs.values().for_each(|job| self.check_job(job));
    }

    fn check_job(&self, job: &JobRow) {
        let mine = self.replicas.values().filter(|row| row.job == job.id);
        let paid = mine
            .clone()
            .filter(|row| matches!(row.state, ReplicaState::Final | ReplicaState::Stopped));
        let owed: i64 = paid.map(|row| row.amount.micros()).sum();
        let earned = self.transfers.iter().filter(|row| row.transfer.job == Some(job.id));
        let earned = earned.filter(|row| row.transfer.kind == TransferKind::Earn);
        let moved: i64 = earned.map(|row| row.transfer.amount.micros()).sum();
        assert_eq!(owed, moved, "each paid result is paid once, at its price");
        assert_eq!(owed, job.spent.micros());
        assert!(job.spent <= job.escrow, "a job never costs more than was held");
        let decided = self.tasks.values().filter(|row| row.job == job.id).count();
        assert_eq!(decided, (job.final_tasks + job.failed_tasks + job.provisional_tasks) as usize);
        let owners = mine.map(|row| (row.task, row.segment, row.owner));
        let count = owners.clone().count();
        assert_eq!(
            owners.collect::<BTreeSet<_>>().len(),
            count,
            "an owner votes once on a segment"
        );
        if !self.live(&job.id) {
            assert_eq!(self.escrow(job.id), 0, "a job that is over holds nothing");
            assert!(!self.leases.values().any(|lease| lease.job == job.id));
        }
        let pages = self.pages.values().filter(|row| row.job == job.id);
        let bits = |row: &PageRow| {
            row.states
                .iter()
                .map(|byte| (0..4).filter(|at| byte >> (2 * at) & 3 != 0).count())
                .sum::<usize>()
        };
        assert_eq!(pages.map(bits).sum::<usize>(), decided, "pages say what tasks say");
    }
}
