//! What has just happened and may be asked for again: the latest reports, and the jobs that ended last.

use std::collections::{BTreeMap, VecDeque};

use tallymill_ledger::Amount;
use tallymill_protocol::{Digest, HostId, JobId};

use crate::rows::JobRow;

/// Verdicts of the latest reports, so that a replay is answered as before.
#[derive(Debug, Default)]
pub struct Recent {
    by_root: BTreeMap<Digest, (HostId, Vec<u8>)>,
    order: VecDeque<Digest>,
    bytes: usize,
}

impl Recent {
    /// Most verdicts remembered, bytes with 64 more for each report.
    const MAX_BYTES: usize = 16 << 20;

    pub fn get(&self, root: &Digest) -> Option<&(HostId, Vec<u8>)> {
        self.by_root.get(root)
    }

    pub fn insert(&mut self, root: Digest, host: HostId, verdicts: Vec<u8>) {
        self.bytes += verdicts.len() + 64;
        if self.by_root.insert(root, (host, verdicts)).is_none() {
            self.order.push_back(root);
        }
        while self.bytes > Self::MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            let gone = self.by_root.remove(&oldest).map_or(0, |(_, verdicts)| verdicts.len() + 64);
            self.bytes = self.bytes.saturating_sub(gone);
        }
    }
}

/// Number and escrow of the jobs that ended last: who submits one again may have looked for it before it ended.
#[derive(Debug, Default)]
pub struct Ended {
    by_id: BTreeMap<JobId, (u64, Amount)>,
    order: VecDeque<JobId>,
}

impl Ended {
    /// Most jobs remembered. Between a caller's look into the store and its command far fewer end.
    const MOST: usize = 16_384;

    pub fn get(&self, job: &JobId) -> Option<(u64, Amount)> {
        self.by_id.get(job).copied()
    }

    pub fn insert(&mut self, row: &JobRow) {
        if self.by_id.insert(row.id, (row.number, row.escrow)).is_none() {
            self.order.push_back(row.id);
        }
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
    }
}
