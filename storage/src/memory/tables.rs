//! The rows of a memory store: what a batch may not break, how it is applied, what a start reads.

use std::collections::{BTreeMap, BTreeSet};

use tallymill_engine::rows::{
    AccountRow, AdminRow, BalanceRow, Batch, BlobRow, Counters, HoldKind, HoldRow, HostRow,
    Identity, JobRow, JobState, KeyRow, LeaseRow, OnceRow, PageRow, ReplicaRow, ReplicaState,
    ReportRow, SegmentRow, Snapshot, SuspensionKind, SuspensionRow, TaskRow, TransferRow, VoidRow,
};
use tallymill_ledger::{AccountKind, LedgerAccountId, TransferKind};
use tallymill_protocol::{
    AccountId, AttemptId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest, Micros,
    SignedBytes, TaskIndex,
};

use crate::names::Named;
use crate::{CommitError, ONCE_TERM, OpenError};

/// Kind by stored name, and subject: the order in which a database lists suspensions.
pub(super) type Subject = (&'static str, [u8; 32]);

/// Every table, by primary key.
pub(super) struct Tables {
    identity: Identity,
    owner: CoordinatorId,
    epoch: u64,
    pub(super) sequence: u64,
    pub(super) now: Micros,
    pub(super) last_task: u64,
    pub(super) accounts: BTreeMap<AccountId, AccountRow>,
    pub(super) hosts: BTreeMap<HostId, HostRow>,
    pub(super) jobs: BTreeMap<JobId, JobRow>,
    pub(super) pages: BTreeMap<(JobId, u32), PageRow>,
    pub(super) leases: BTreeMap<AttemptId, LeaseRow>,
    pub(super) reports: BTreeMap<Digest, ReportRow>,
    pub(super) tokens: BTreeMap<LeaseDigest, SignedBytes>,
    pub(super) replicas: BTreeMap<(JobId, TaskIndex, u32, HostId), ReplicaRow>,
    pub(super) segments: BTreeMap<(JobId, TaskIndex, u32), SegmentRow>,
    pub(super) tasks: BTreeMap<(JobId, TaskIndex), TaskRow>,
    pub(super) voids: BTreeMap<u64, VoidRow>,
    pub(super) transfers: BTreeMap<u64, TransferRow>,
    pub(super) balances: BTreeMap<LedgerAccountId, BalanceRow>,
    pub(super) suspensions: BTreeMap<Subject, SuspensionRow>,
    pub(super) admin: BTreeMap<u64, AdminRow>,
    pub(super) keys: BTreeMap<u64, KeyRow>,
    pub(super) once: BTreeMap<(AccountId, &'static str, String), OnceRow>,
    pub(super) blobs: BTreeMap<Digest, BlobRow>,
    pub(super) touched: BTreeMap<Digest, Micros>,
    pub(super) uses: BTreeSet<(Digest, JobId)>,
    pub(super) doomed: BTreeSet<Digest>,
    pub(super) holds: BTreeMap<(JobId, HoldKind), HoldRow>,
    /// Jobs of whose results nothing is left.
    pub(super) collected: BTreeSet<JobId>,
    /// Reports of which only the answer is left.
    pub(super) emptied: BTreeMap<Digest, (HostId, Vec<u8>)>,
    last_void: u64,
    // Unique indexes.
    key_of: BTreeMap<Key, AccountId>,
    number_of: BTreeMap<u64, JobId>,
    pub(super) report_of: BTreeMap<(HostId, u64), Digest>,
    log: BTreeSet<u64>,
}

impl Tables {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            owner: identity.coordinator,
            identity,
            epoch: 0,
            sequence: 0,
            now: Micros(0),
            last_task: 0,
            accounts: BTreeMap::new(),
            hosts: BTreeMap::new(),
            jobs: BTreeMap::new(),
            pages: BTreeMap::new(),
            leases: BTreeMap::new(),
            reports: BTreeMap::new(),
            tokens: BTreeMap::new(),
            replicas: BTreeMap::new(),
            segments: BTreeMap::new(),
            tasks: BTreeMap::new(),
            voids: BTreeMap::new(),
            transfers: BTreeMap::new(),
            balances: BTreeMap::new(),
            suspensions: BTreeMap::new(),
            admin: BTreeMap::new(),
            keys: BTreeMap::new(),
            once: BTreeMap::new(),
            blobs: BTreeMap::new(),
            touched: BTreeMap::new(),
            uses: BTreeSet::new(),
            doomed: BTreeSet::new(),
            holds: BTreeMap::new(),
            collected: BTreeSet::new(),
            emptied: BTreeMap::new(),
            last_void: 0,
            key_of: BTreeMap::new(),
            number_of: BTreeMap::new(),
            report_of: BTreeMap::new(),
            log: BTreeSet::new(),
        }
    }

    /// Gives the shards to `owner` in a new epoch.
    pub(super) const fn take(&mut self, owner: CoordinatorId) -> u64 {
        self.owner = owner;
        self.epoch = self.epoch.saturating_add(1);
        self.epoch
    }

    pub(super) fn is_held(&self, owner: CoordinatorId, epoch: u64) -> bool {
        self.owner == owner && self.epoch == epoch
    }

    pub(super) fn belongs(&self, identity: &Identity) -> Result<(), OpenError> {
        let foreign = |what, found, expected| Err(OpenError::Foreign { what, found, expected });
        let (ours, theirs) = (&self.identity, identity);
        if ours.network != theirs.network {
            return foreign("network", ours.network.to_string(), theirs.network.to_string());
        }
        if ours.coordinator != theirs.coordinator {
            let (found, expected) = (ours.coordinator.to_string(), theirs.coordinator.to_string());
            return foreign("coordinator", found, expected);
        }
        Ok(())
    }

    /// Refuses what a database would refuse, before anything is changed.
    pub(super) fn check(&self, batch: &Batch) -> Result<(), CommitError> {
        let expected = self.sequence.saturating_add(1);
        if batch.sequence != expected {
            return Err(CommitError::Sequence { expected, found: batch.sequence });
        }
        self.check_unique(batch)?;
        fresh("void_run", batch.voids.iter().map(|row| row.id), |id| self.voids.contains_key(id))?;
        fresh("admin_entry", batch.admin.iter().map(|row| row.id), |id| {
            self.admin.contains_key(id)
        })?;
        fresh("key_entry", batch.keys.iter().map(|row| row.id), |id| self.keys.contains_key(id))?;
        fresh("transfer", batch.transfers.iter().map(|row| row.id), |id| {
            self.transfers.contains_key(id)
        })?;
        if batch.transfers.iter().any(|row| !row.transfer.amount.is_positive()) {
            return Err(conflict("transfer", "amount > 0"));
        }
        let segments = batch.segments.iter().map(|row| (row.job, row.task, row.segment));
        fresh("segment", segments, |key| self.segments.contains_key(key))?;
        self.check_once(batch)?;
        self.check_replicas(batch)
    }

    fn check_unique(&self, batch: &Batch) -> Result<(), CommitError> {
        let mut signers = BTreeMap::new();
        for row in &batch.accounts {
            let known = self.key_of.get(&row.current_key);
            let holder = *signers.entry(row.current_key).or_insert(row.id);
            if holder != row.id || known.is_some_and(|id| *id != row.id) {
                return Err(conflict("account", "current_key"));
            }
        }
        if batch
            .jobs
            .iter()
            .any(|row| self.number_of.get(&row.number).is_some_and(|id| *id != row.id))
        {
            return Err(conflict("job", "number"));
        }
        let known =
            |row: &JobRow| self.jobs.get(&row.id).is_some_and(|old| old.number != row.number);
        if batch.jobs.iter().any(known) {
            return Err(conflict("job", "another number"));
        }
        let roots = batch.reports.iter().map(|row| row.root);
        fresh("report", roots, |root| {
            self.reports.contains_key(root) || self.emptied.contains_key(root)
        })?;
        let sequences = batch.reports.iter().map(|row| (row.host, row.sequence));
        fresh("report", sequences, |key| self.report_of.contains_key(key))?;
        let indices = batch.reports.iter().map(|row| row.log_index);
        fresh("report", indices, |index| self.log.contains(index))
    }

    fn check_once(&self, batch: &Batch) -> Result<(), CommitError> {
        let oldest = batch.now.0.saturating_sub(ONCE_TERM);
        let names = batch.once.iter().map(|row| (row.account, row.route, row.name.clone()));
        fresh("idempotency", names, |key| self.once.get(key).is_some_and(|row| row.at.0 >= oldest))
    }

    fn check_replicas(&self, batch: &Batch) -> Result<(), CommitError> {
        let keys = batch.replicas.iter().map(|row| (row.job, row.task, row.segment, row.host));
        let new: BTreeSet<_> = keys.clone().collect();
        fresh("replica", keys, |key| self.replicas.contains_key(key))?;
        let moved: BTreeSet<_> =
            batch.moves.iter().map(|row| (row.job, row.task, row.segment, row.host)).collect();
        let missing = moved
            .iter()
            .filter(|key| !self.replicas.contains_key(key) && !new.contains(key))
            .count();
        if missing > 0 {
            return Err(CommitError::Missing { table: "replica", missing: missing as u64 });
        }
        Ok(())
    }

    /// Applies a batch that [`Tables::check`] let pass.
    pub(super) fn apply(&mut self, batch: &Batch) {
        (self.sequence, self.now) = (batch.sequence, batch.now);
        for row in &batch.accounts {
            if let Some(old) = self.accounts.insert(row.id, row.clone()) {
                self.key_of.remove(&old.current_key);
            }
            self.key_of.insert(row.current_key, row.id);
        }
        put(&mut self.hosts, &batch.hosts, |row| row.id);
        self.number_of.extend(batch.jobs.iter().map(|row| (row.number, row.id)));
        for row in &batch.jobs {
            // What only the store tells stays as it is.
            let old = self.jobs.get(&row.id);
            let (held, collecting) = old.map_or((false, None), |old| (old.held, old.collecting));
            self.jobs.insert(row.id, JobRow { held, collecting, ..row.clone() });
        }
        put(&mut self.pages, &batch.pages, |row| (row.job, row.page));
        put(&mut self.leases, &batch.leases, |row| row.attempt);
        for attempt in &batch.closed_leases {
            self.leases.remove(attempt);
        }
        self.apply_work(batch);
        put(&mut self.transfers, &batch.transfers, |row| row.id);
        put(&mut self.balances, &batch.balances, |row| row.account.id());
        put(&mut self.suspensions, &batch.suspensions, |row| (row.kind.name(), row.subject));
        let lifted = |(kind, subject): &(SuspensionKind, _)| (kind.name(), *subject);
        batch.lifted.iter().map(lifted).for_each(|key| drop(self.suspensions.remove(&key)));
        put(&mut self.admin, &batch.admin, |row| row.id);
        put(&mut self.keys, &batch.keys, |row| row.id);
        if !batch.once.is_empty() {
            let oldest = batch.now.0.saturating_sub(ONCE_TERM);
            self.once.retain(|_, row| row.at.0 >= oldest);
        }
        put(&mut self.once, &batch.once, |row| (row.account, row.route, row.name.clone()));
        self.apply_blobs(batch);
        batch.released.iter().for_each(|key| drop(self.holds.remove(key)));
        put(&mut self.holds, &batch.holds, |row| (row.job, row.kind));
        let touched = batch.released.iter().map(|(job, _)| job);
        for job in touched.chain(batch.holds.iter().map(|row| &row.job)) {
            if let Some(row) = self.jobs.get_mut(job) {
                let kinds = [HoldKind::Payer, HoldKind::Operator];
                row.held = kinds.iter().any(|kind| self.holds.contains_key(&(*job, *kind)));
            }
        }
    }

    fn apply_blobs(&mut self, batch: &Batch) {
        for row in &batch.blobs {
            self.blobs.entry(row.digest).or_insert_with(|| row.clone());
            let touched = self.touched.entry(row.digest).or_insert(row.at);
            *touched = row.at.max(*touched);
            self.doomed.remove(&row.digest);
        }
        self.uses.extend(batch.uses.iter().map(|row| (row.digest, row.job)));
        for row in &batch.charges {
            let charged = self.blobs.get_mut(&row.digest).filter(|blob| blob.account == row.from);
            if let Some(blob) = charged {
                blob.account = row.to;
            }
        }
    }

    fn apply_work(&mut self, batch: &Batch) {
        for row in &batch.reports {
            self.report_of.insert((row.host, row.sequence), row.root);
            self.log.insert(row.log_index);
            for (digest, envelope) in &row.leases {
                self.tokens.entry(*digest).or_insert_with(|| envelope.clone());
            }
        }
        put(&mut self.reports, &batch.reports, |row| row.root);
        put(&mut self.replicas, &batch.replicas, |row| (row.job, row.task, row.segment, row.host));
        put(&mut self.segments, &batch.segments, |row| (row.job, row.task, row.segment));
        for row in &batch.moves {
            if let Some(replica) =
                self.replicas.get_mut(&(row.job, row.task, row.segment, row.host))
            {
                (replica.state, replica.near) = (row.state, None);
            }
        }
        let newest = batch.tasks.iter().map(|row| row.sequence).max().unwrap_or(0);
        self.last_task = self.last_task.max(newest);
        put(&mut self.tasks, &batch.tasks, |row| (row.job, row.task));
        put(&mut self.voids, &batch.voids, |row| row.id);
        self.last_void = self.last_void.max(last(&self.voids));
    }
}

fn conflict(table: &str, rule: &str) -> CommitError {
    CommitError::Conflict { table: table.to_owned(), detail: rule.to_owned() }
}

/// Every key is new, and comes once.
fn fresh<K: Ord>(
    table: &str,
    keys: impl Iterator<Item = K>,
    known: impl Fn(&K) -> bool,
) -> Result<(), CommitError> {
    let mut seen = BTreeSet::new();
    for key in keys {
        if known(&key) || !seen.insert(key) {
            return Err(conflict(table, "primary key"));
        }
    }
    Ok(())
}

fn put<K: Ord, R: Clone>(table: &mut BTreeMap<K, R>, rows: &[R], key: impl Fn(&R) -> K) {
    table.extend(rows.iter().map(|row| (key(row), row.clone())));
}

fn last<R>(table: &BTreeMap<u64, R>) -> u64 {
    table.last_key_value().map_or(0, |(id, _)| *id)
}

impl Tables {
    fn is_live(&self, job: JobId) -> bool {
        let live = [JobState::Running, JobState::Stopping];
        self.jobs.get(&job).is_some_and(|row| live.contains(&row.state))
    }

    fn counters(&self) -> Counters {
        Counters {
            job: last(&self.number_of),
            task: self.last_task,
            transfer: last(&self.transfers),
            void: self.last_void,
            admin: last(&self.admin),
            key: last(&self.keys),
            log: self.log.last().copied().unwrap_or(0),
        }
    }

    /// Hosts that live jobs paid before.
    fn paid(&self) -> Vec<(JobId, HostId)> {
        let earn = |row: &&TransferRow| row.transfer.kind == TransferKind::Earn;
        let pair = |row: &TransferRow| row.transfer.job.zip(row.transfer.host);
        let pairs: BTreeSet<_> = self.transfers.values().filter(earn).filter_map(pair).collect();
        pairs.into_iter().filter(|(job, _)| self.is_live(*job)).collect()
    }

    /// The last segment of each task of live jobs that is not decided.
    fn chains(&self) -> Vec<SegmentRow> {
        let live = |row: &&SegmentRow| {
            self.is_live(row.job) && !self.tasks.contains_key(&(row.job, row.task))
        };
        let rows = self.segments.values().filter(live);
        let last: BTreeMap<_, _> = rows.map(|row| ((row.job, row.task), row)).collect();
        last.into_values().cloned().collect()
    }

    fn is_open(&self, row: &BalanceRow) -> bool {
        match row.account.kind {
            AccountKind::Escrow { job } | AccountKind::Pending { job, .. } => {
                row.amount.micros() != 0 || self.is_live(job)
            }
            _ => true,
        }
    }

    /// What a start reads.
    pub(super) fn snapshot(&self, epoch: u64) -> Snapshot {
        let mut jobs: Vec<_> =
            self.jobs.values().filter(|row| self.is_live(row.id)).cloned().collect();
        jobs.sort_by_key(|row| row.number);
        let undecided =
            |row: &&ReplicaRow| row.state == ReplicaState::Reported && self.is_live(row.job);
        let oldest = self.now.0.saturating_sub(ONCE_TERM);
        Snapshot {
            epoch,
            sequence: self.sequence,
            now: self.now,
            counters: self.counters(),
            accounts: self.accounts.values().cloned().collect(),
            hosts: self.hosts.values().cloned().collect(),
            jobs,
            pages: self.pages.values().filter(|row| self.is_live(row.job)).cloned().collect(),
            leases: self.leases.values().cloned().collect(),
            replicas: self.replicas.values().filter(undecided).cloned().collect(),
            segments: self.chains(),
            voids: self.voids.values().filter(|row| self.is_live(row.job)).cloned().collect(),
            paid: self.paid(),
            balances: self.balances.values().filter(|row| self.is_open(row)).cloned().collect(),
            suspensions: self.suspensions.values().cloned().collect(),
            once: self.once.values().filter(|row| row.at.0 >= oldest).cloned().collect(),
        }
    }
}
