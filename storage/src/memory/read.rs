//! Reads of the memory store: the same pages in the same order as the queries give.

use std::collections::BTreeMap;
use std::ops::Bound;

use tallymill_engine::rows::{
    AccountRow, AdminRow, BalanceRow, BlobRow, HoldRow, HostRow, JobRow, KeyRow, OnceRow, PageRow,
    ReplicaRow, ReportRow, SegmentRow, SuspensionKind, SuspensionRow, TaskRow, TaskState,
    TransferRow, VoidRow,
};
use tallymill_ledger::{AccountKey, Amount, GrantPolicy, LedgerAccountId};
use tallymill_protocol::{
    AccountId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest, SignedBytes, TaskIndex,
};

use super::MemoryStore;
use super::audit::audit;
use super::tables::Tables;
use crate::names::Named;
use crate::{
    Accounts, Admin, Answer, BalanceTotal, Blobs, Decided, Hosts, JobFilter, Jobs, Keys, Leaf,
    Ledger, LedgerAudit, MAX_PAGE, Page, Reports, Tasks, TransferFilter,
};

/// The rows of a page: those after its key that `keep` wants.
pub(super) fn page<K: Ord + Copy, R: Clone>(
    table: &BTreeMap<K, R>,
    page: Page<K>,
    keep: impl Fn(&R) -> bool,
) -> Vec<R> {
    let from = page.after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = table.range((from, Bound::Unbounded)).map(|(_, row)| row);
    rows.filter(|row| keep(row)).take(page.rows() as usize).cloned().collect()
}

/// Sorts by a key and takes the rows after the page's.
pub(super) fn sorted<K: Ord + Copy, R>(
    mut rows: Vec<R>,
    page: Page<K>,
    key: impl Fn(&R) -> K,
) -> Vec<R> {
    rows.sort_by_key(&key);
    rows.retain(|row| page.after.as_ref().is_none_or(|after| key(row) > *after));
    rows.truncate(page.rows() as usize);
    rows
}

impl MemoryStore {
    pub(super) fn read<T: Send + 'static>(&self, read: impl FnOnce(&Tables) -> T) -> Answer<'_, T> {
        let found = read(&self.lock());
        Box::pin(async move { Ok(found) })
    }
}

impl Jobs for MemoryStore {
    fn job(&self, id: JobId) -> Answer<'_, Option<JobRow>> {
        self.read(|tables| tables.jobs.get(&id).cloned())
    }

    fn jobs(&self, filter: JobFilter, page: Page<u64>) -> Answer<'_, Vec<JobRow>> {
        self.read(|tables| {
            let wanted = |row: &&JobRow| {
                filter.payer.is_none_or(|payer| row.payer == payer)
                    && filter.state.is_none_or(|state| row.state == state)
                    && page.after.is_none_or(|after| row.number < after)
            };
            let mut rows: Vec<_> = tables.jobs.values().filter(wanted).cloned().collect();
            rows.sort_by_key(|row| std::cmp::Reverse(row.number));
            rows.truncate(page.rows() as usize);
            rows
        })
    }

    fn holds(&self, job: JobId) -> Answer<'_, Vec<HoldRow>> {
        self.read(|tables| {
            let mut rows: Vec<_> =
                tables.holds.values().filter(|row| row.job == job).cloned().collect();
            rows.sort_by_key(|row| row.kind.name());
            rows
        })
    }

    fn pages(&self, job: JobId, page: Page<u32>) -> Answer<'_, Vec<PageRow>> {
        self.read(|tables| {
            let rows = tables.pages.values().filter(|row| row.job == job).cloned().collect();
            sorted(rows, page, |row: &PageRow| row.page)
        })
    }
}

impl Tasks for MemoryStore {
    fn task(&self, job: JobId, task: TaskIndex) -> Answer<'_, Option<TaskRow>> {
        self.read(|tables| tables.tasks.get(&(job, task)).cloned())
    }

    fn tasks(
        &self,
        job: JobId,
        state: Option<TaskState>,
        page: Page<TaskIndex>,
    ) -> Answer<'_, Vec<TaskRow>> {
        self.read(|tables| {
            let wanted =
                |row: &&TaskRow| row.job == job && state.is_none_or(|state| row.state == state);
            let rows = tables.tasks.values().filter(wanted).cloned().collect();
            sorted(rows, page, |row: &TaskRow| row.task)
        })
    }

    fn decided(&self, job: JobId, page: Page<u64>) -> Answer<'_, Vec<Decided>> {
        self.read(|tables| {
            let rows = tables.tasks.values().filter(|row| row.job == job).cloned().collect();
            let rows = sorted(rows, page, |row: &TaskRow| row.sequence);
            rows.into_iter().map(|task| decided(tables, task)).collect()
        })
    }

    fn replicas(&self, job: JobId, task: TaskIndex) -> Answer<'_, Vec<ReplicaRow>> {
        self.read(|tables| {
            let from = (job, task, 0, HostId([0; 32]));
            let to = (job, task, u32::MAX, HostId([255; 32]));
            let mut rows: Vec<_> = tables.replicas.range(from..=to).map(|(_, row)| row).collect();
            rows.sort_by_key(|row| (std::cmp::Reverse(row.segment), row.host));
            rows.into_iter().take(MAX_PAGE as usize).cloned().collect()
        })
    }

    fn segments(
        &self,
        job: JobId,
        task: TaskIndex,
        page: Page<u32>,
    ) -> Answer<'_, Vec<SegmentRow>> {
        self.read(|tables| {
            let rows = tables.segments.range((job, task, 0)..=(job, task, u32::MAX));
            let rows = rows.map(|(_, row)| row.clone()).collect();
            sorted(rows, page, |row: &SegmentRow| row.segment)
        })
    }

    fn voids(&self, job: JobId, task: TaskIndex, key: Page<u64>) -> Answer<'_, Vec<VoidRow>> {
        self.read(|tables| page(&tables.voids, key, |row| row.job == job && row.task == task))
    }
}

/// A task with the output of the replica whose result stands.
fn decided(tables: &Tables, task: TaskRow) -> Decided {
    let key = |host| (task.job, task.task, task.segment, host);
    let replica = task.host.and_then(|host| tables.replicas.get(&key(host)));
    Decided { output: replica.and_then(|replica| replica.output.clone()), task }
}

impl Accounts for MemoryStore {
    fn account(&self, id: AccountId) -> Answer<'_, Option<AccountRow>> {
        self.read(|tables| tables.accounts.get(&id).cloned())
    }

    fn account_by_key(&self, key: Key) -> Answer<'_, Option<AccountRow>> {
        self.read(|tables| tables.accounts.values().find(|row| row.current_key == key).cloned())
    }

    fn accounts(&self, key: Page<AccountId>) -> Answer<'_, Vec<AccountRow>> {
        self.read(|tables| page(&tables.accounts, key, |_| true))
    }

    fn once<'a>(
        &'a self,
        account: AccountId,
        route: &'a str,
        name: &'a str,
    ) -> Answer<'a, Option<OnceRow>> {
        self.read(|tables| {
            let is =
                |row: &&OnceRow| row.account == account && row.route == route && row.name == name;
            tables.once.values().find(is).cloned()
        })
    }
}

impl Hosts for MemoryStore {
    fn host(&self, id: HostId) -> Answer<'_, Option<HostRow>> {
        self.read(|tables| tables.hosts.get(&id).cloned())
    }

    fn hosts(&self, owner: Option<AccountId>, key: Page<HostId>) -> Answer<'_, Vec<HostRow>> {
        self.read(|tables| {
            page(&tables.hosts, key, |row| owner.is_none_or(|owner| row.owner == owner))
        })
    }
}

/// Whose account it is, as its owner column says.
fn owner_of(key: &AccountKey) -> Option<[u8; 32]> {
    key.kind.parts().1
}

impl Ledger for MemoryStore {
    fn balances<'a>(
        &'a self,
        owner: AccountId,
        kind: Option<&'a str>,
        key: Page<LedgerAccountId>,
    ) -> Answer<'a, Vec<BalanceRow>> {
        self.read(|tables| {
            page(&tables.balances, key, |row| {
                owner_of(&row.account) == Some(owner.0)
                    && kind.is_none_or(|kind| row.account.kind.parts().0 == kind)
            })
        })
    }

    fn totals(&self, owner: AccountId) -> Answer<'_, Vec<BalanceTotal>> {
        self.read(|tables| {
            let mut sums = BTreeMap::<(CoordinatorId, &str), i64>::new();
            let mine = |row: &&BalanceRow| owner_of(&row.account) == Some(owner.0);
            for row in tables.balances.values().filter(mine) {
                *sums.entry((row.account.issuer, row.account.kind.parts().0)).or_default() +=
                    row.amount.micros();
            }
            sums.into_iter()
                .map(|((issuer, kind), sum)| BalanceTotal {
                    issuer,
                    kind: kind.to_owned(),
                    amount: Amount::new(sum),
                })
                .collect()
        })
    }

    fn job_balances(&self, job: JobId, key: Page<LedgerAccountId>) -> Answer<'_, Vec<BalanceRow>> {
        self.read(|tables| {
            page(&tables.balances, key, |row| row.account.kind.parts().2 == Some(job))
        })
    }

    fn transfers(&self, filter: TransferFilter, key: Page<u64>) -> Answer<'_, Vec<TransferRow>> {
        self.read(|tables| {
            page(&tables.transfers, key, |TransferRow { transfer, .. }| match filter {
                TransferFilter::All => true,
                TransferFilter::Job(job) => transfer.job == Some(job),
                TransferFilter::Owner(owner) => [transfer.debit, transfer.credit]
                    .iter()
                    .any(|key| owner_of(key) == Some(owner.0)),
            })
        })
    }

    fn audit_ledger(&self, policy: GrantPolicy) -> Answer<'_, LedgerAudit> {
        self.read(|tables| audit(tables, &policy))
    }
}

impl Reports for MemoryStore {
    fn report(&self, root: Digest) -> Answer<'_, Option<ReportRow>> {
        self.read(|tables| tables.reports.get(&root).cloned())
    }

    fn verdicts(&self, root: Digest) -> Answer<'_, Option<(HostId, Vec<u8>)>> {
        self.read(|tables| {
            let kept = tables.reports.get(&root).map(|row| (row.host, row.verdicts.clone()));
            kept.or_else(|| tables.emptied.get(&root).cloned())
        })
    }

    fn report_of(&self, host: HostId, sequence: u64) -> Answer<'_, Option<ReportRow>> {
        self.read(|tables| {
            let root = tables.report_of.get(&(host, sequence))?;
            tables.reports.get(root).cloned()
        })
    }

    fn receipts(&self, root: Digest, page: Page<u32>) -> Answer<'_, Vec<Leaf>> {
        self.read(|tables| {
            let leaf = |row: &ReplicaRow| Leaf {
                position: row.position,
                job: row.job,
                task: row.task,
                receipt: row.receipt.clone(),
            };
            let rows = tables.replicas.values().filter(|row| row.report == root).map(leaf);
            sorted(rows.collect(), page, |leaf: &Leaf| leaf.position)
        })
    }

    fn lease_token(&self, digest: LeaseDigest) -> Answer<'_, Option<SignedBytes>> {
        self.read(|tables| tables.tokens.get(&digest).cloned())
    }
}

impl Keys for MemoryStore {
    fn keys(&self, account: AccountId, key: Page<u64>) -> Answer<'_, Vec<KeyRow>> {
        self.read(|tables| page(&tables.keys, key, |row| row.account == account))
    }
}

impl Admin for MemoryStore {
    fn admin(&self, key: Page<u64>) -> Answer<'_, Vec<AdminRow>> {
        self.read(|tables| page(&tables.admin, key, |_| true))
    }

    fn suspensions(&self, key: Page<(SuspensionKind, [u8; 32])>) -> Answer<'_, Vec<SuspensionRow>> {
        let after = key.after.map(|(kind, subject)| (kind.name(), subject));
        self.read(|tables| page(&tables.suspensions, Page { after, limit: key.limit }, |_| true))
    }
}

impl Blobs for MemoryStore {
    fn blob(&self, digest: Digest) -> Answer<'_, Option<BlobRow>> {
        self.read(|tables| tables.blobs.get(&digest).cloned())
    }

    fn blobs(&self, account: AccountId, key: Page<Digest>) -> Answer<'_, Vec<BlobRow>> {
        self.read(|tables| page(&tables.blobs, key, |row| row.account == account))
    }

    fn blob_bytes(&self, account: AccountId) -> Answer<'_, u64> {
        self.read(|tables| {
            tables.blobs.values().filter(|row| row.account == account).map(|row| row.length).sum()
        })
    }
}
