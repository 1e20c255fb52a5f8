//! Steps of collecting in memory: what goes is what goes from a database, in the same order.

use std::collections::{BTreeMap, BTreeSet};

use tallymill_engine::Retention;
use tallymill_engine::rows::{BlobRow, JobRow, ReplicaRow, ReplicaState, ReportRow};
use tallymill_protocol::{Digest, JobId, Micros};

use super::MemoryStore;
use super::read::{page, sorted};
use super::tables::Tables;
use crate::{Answer, CollectError, Collection, CommitError, Done, Looked, Order, Page};

/// Removes the first rows of a table that are the job's; says how many.
fn take<K: Ord + Clone, R>(
    table: &mut BTreeMap<K, R>,
    portion: u32,
    of_job: impl Fn(&K, &R) -> bool,
) -> u64 {
    let keys = table.iter().filter(|(key, row)| of_job(key, row)).map(|(key, _)| key.clone());
    let keys: Vec<K> = keys.take(portion as usize).collect();
    keys.iter().for_each(|key| drop(table.remove(key)));
    keys.len() as u64
}

impl Tables {
    fn step(&mut self, order: &Order, portion: u32) -> Done {
        match order {
            // Nothing here is of before.
            Order::Note { .. } => Done::Nothing,
            Order::Job { job, rule, now } => self.results(*job, (rule, *now), portion),
            Order::Reports(numbers) => {
                let lone = |root: &Digest| !self.replicas.values().any(|row| row.report == *root);
                let named = self.reports.values().filter(|row| numbers.contains(&row.log_index));
                let roots: Vec<_> = named.map(|row| row.root).filter(lone).collect();
                roots.iter().for_each(|root| self.empty(*root));
                Done::Rows(roots.len() as u64)
            }
            Order::Doom { digests, before } => {
                let doomed = digests.iter().filter_map(|digest| self.doom(*digest, *before));
                Done::Doomed(doomed.collect())
            }
            Order::Bury(digests) => {
                let buried = digests.iter().filter(|digest| self.doomed.remove(digest));
                Done::Rows(buried.count() as u64)
            }
        }
    }

    fn results(&mut self, id: JobId, (rule, now): (&Retention, Micros), portion: u32) -> Done {
        let Some(job) = self.jobs.get_mut(&id) else { return Done::Nothing };
        let waits = |(key, row): (&(JobId, _, _, _), &ReplicaRow)| {
            key.0 == id && row.state == ReplicaState::Reported
        };
        let undecided = self.replicas.iter().filter(|entry| waits(*entry)).count() as u64;
        if let Some(kept) = rule.keeps(job, undecided, now) {
            return Done::Kept(kept);
        }
        if job.collecting.is_none() {
            job.collecting = Some(now);
            return Done::Rows(1);
        }
        let mut gone = take(&mut self.tasks, portion, |key, _| key.0 == id);
        if gone == 0 {
            gone = self.take_replicas(id, portion);
        }
        if gone == 0 {
            gone = take(&mut self.segments, portion, |key, _| key.0 == id);
        }
        if gone == 0 {
            gone = take(&mut self.voids, portion, |_, row| row.job == id);
        }
        if gone == 0 {
            gone = take(&mut self.pages, portion, |key, _| key.0 == id);
        }
        if gone == 0 {
            let uses = self.uses.iter().filter(|(_, job)| *job == id).copied();
            let uses: BTreeSet<_> = uses.take(portion as usize).collect();
            self.uses.retain(|row| !uses.contains(row));
            gone = uses.len() as u64;
        }
        if gone > 0 {
            return Done::Rows(gone);
        }
        self.holds.retain(|(job, _), _| *job != id);
        self.collected.insert(id);
        Done::Nothing
    }

    /// The next results of a job; reports of which none is left are emptied.
    fn take_replicas(&mut self, id: JobId, portion: u32) -> u64 {
        let rows = self.replicas.values().filter(|row| row.job == id).take(portion as usize);
        let roots: BTreeSet<Digest> = rows.map(|row| row.report).collect();
        let gone = take(&mut self.replicas, portion, |key, _| key.0 == id);
        for root in roots {
            if !self.replicas.values().any(|row| row.report == root) {
                self.empty(root);
            }
        }
        gone
    }

    /// Takes everything from a report but its answer, and the lease tokens that no other report names.
    fn empty(&mut self, root: Digest) {
        let Some(report) = self.reports.remove(&root) else { return };
        let others = self.reports.values().flat_map(|row| &row.leases);
        let named: BTreeSet<_> = others.map(|(digest, _)| *digest).collect();
        for (digest, _) in &report.leases {
            if !named.contains(digest) {
                self.tokens.remove(digest);
            }
        }
        self.emptied.insert(root, (report.host, report.verdicts));
    }

    fn goes(&self, digest: Digest, before: Micros) -> bool {
        let touched = self.touched.get(&digest).is_some_and(|at| *at <= before);
        let first = (digest, JobId([0; 32]));
        touched && self.uses.range(first..).next().is_none_or(|(used, _)| *used != digest)
    }

    fn doom(&mut self, digest: Digest, before: Micros) -> Option<BlobRow> {
        if !self.goes(digest, before) {
            return None;
        }
        self.touched.remove(&digest);
        self.doomed.insert(digest);
        self.blobs.remove(&digest)
    }
}

impl Collection for MemoryStore {
    fn collect<'a>(&'a self, order: &'a Order, portion: u32) -> Answer<'a, Done, CollectError> {
        Box::pin(async move {
            let mut tables = self.held().map_err(|epoch| CommitError::Fenced { epoch })?;
            Ok(tables.step(order, portion))
        })
    }

    fn collecting(&self, key: Page<u64>) -> Answer<'_, Vec<JobRow>> {
        self.read(|tables| {
            let open =
                |row: &&JobRow| row.collecting.is_some() && !tables.collected.contains(&row.id);
            let rows = tables.jobs.values().filter(open).cloned().collect();
            sorted(rows, key, |row: &JobRow| row.number)
        })
    }

    fn ended(&self, before: Micros, key: Page<(Micros, u64)>) -> Answer<'_, Vec<JobRow>> {
        self.read(|tables| {
            let due = |row: &&JobRow| {
                row.finished.is_some_and(|at| at <= before) && !tables.collected.contains(&row.id)
            };
            let rows = tables.jobs.values().filter(due).cloned().collect();
            sorted(rows, key, |row: &JobRow| (row.finished.unwrap_or_default(), row.number))
        })
    }

    fn lone_reports(&self, before: Micros, key: Page<u64>) -> Answer<'_, Vec<Looked<u64>>> {
        self.read(|tables| {
            let looked = |row: &ReportRow| {
                let goes = !tables.replicas.values().any(|replica| replica.report == row.root);
                Looked { key: row.log_index, goes }
            };
            let rows = tables.reports.values().filter(|row| row.at <= before).map(looked);
            sorted(rows.collect(), key, |row: &Looked<u64>| row.key)
        })
    }

    fn idle_blobs(&self, before: Micros, key: Page<Digest>) -> Answer<'_, Vec<Looked<Digest>>> {
        self.read(|tables| {
            let looked =
                |row: BlobRow| Looked { key: row.digest, goes: tables.goes(row.digest, before) };
            page(&tables.blobs, key, |_| true).into_iter().map(looked).collect()
        })
    }

    fn doomed(&self, key: Page<Digest>) -> Answer<'_, Vec<Digest>> {
        self.read(|tables| {
            sorted(tables.doomed.iter().copied().collect(), key, |digest: &Digest| *digest)
        })
    }
}
