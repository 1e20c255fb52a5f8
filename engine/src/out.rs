//! What gathers until the next step: changed rows, replies and events.

use std::collections::{BTreeMap, BTreeSet};

use tallymill_ledger::AccountKey;
use tallymill_protocol::{AccountId, AttemptId, HostId, JobId, TaskIndex};

use crate::api::{Reply, Token};
use crate::rows::{Batch, LeaseRow, ReplicaMove, ReplicaRow, ReplicaState};

/// Changes since the last step. Rows that may change twice are kept by id and copied once, when the step is taken.
#[derive(Debug, Default)]
pub struct Out {
    pub batch: Batch,
    pub replies: Vec<(Token, Reply)>,
    pub accounts: BTreeSet<AccountId>,
    pub hosts: BTreeSet<HostId>,
    pub jobs: BTreeSet<JobId>,
    pub leases: BTreeMap<AttemptId, LeaseRow>,
    /// Accounts of the ledger that moved, with the last transfer that moved them.
    pub moved: BTreeMap<AccountKey, u64>,
    /// Jobs that are over: their escrow is released with this step.
    pub closing: BTreeSet<JobId>,
    /// Owners whose pages changed.
    pub told: BTreeSet<AccountId>,
    pub network: bool,
    fresh: BTreeMap<(JobId, TaskIndex, u32, HostId), usize>,
}

impl Out {
    pub fn add_replica(&mut self, row: ReplicaRow) {
        let key = (row.job, row.task, row.segment, row.host);
        self.fresh.insert(key, self.batch.replicas.len());
        self.batch.replicas.push(row);
    }

    /// Moves a replica on: in its row when that is still here, otherwise as a change of its own.
    pub fn move_replica(
        &mut self,
        job: JobId,
        (task, segment): (TaskIndex, u32),
        host: HostId,
        state: ReplicaState,
    ) {
        let fresh = self.fresh.get(&(job, task, segment, host)).copied();
        match fresh.and_then(|at| self.batch.replicas.get_mut(at)) {
            Some(row) => (row.state, row.near) = (state, None),
            None => self.batch.moves.push(ReplicaMove { job, task, segment, host, state }),
        }
    }
}
