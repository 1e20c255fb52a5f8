//! A second bookkeeper: recomputes from receipts what hosts are owed and compares it with what the ledger moved.
//!
//! It shares no code with the ledger: prices are written down again from the published tariff, sums again from the
//! transfers. What both get wrong in the same way, nobody notices; so keep it apart.

mod packs;
mod price;
mod read;

use std::collections::{BTreeMap, BTreeSet};

use tallymill_protocol::{Digest, Manifest, Policy, Receipt};

pub(crate) use read::read;

/// Any id or digest, as bytes: the database's own form.
pub(crate) type Id = [u8; 32];

/// Everything that was read, in the shape in which it is added up.
#[derive(Debug, Default)]
pub(crate) struct Books {
    jobs: BTreeMap<Id, Manifest>,
    /// Jobs whose receipts are gone: what they paid can only be compared with itself.
    collected: BTreeSet<Id>,
    owed: BTreeMap<(Id, Id), i128>,
    /// Processor time that each job's paid receipts tell, µs.
    cpu: BTreeMap<Id, u64>,
    leases: BTreeSet<(Digest, u32)>,
    repeated: u64,
    /// Results paid of each segment of each task; 0 where a task is not divided.
    paid_copies: BTreeMap<(Id, u32, u32), u32>,
    /// Fuel of each task before and after each of its paid segments.
    chains: BTreeMap<(Id, u32, u32), BTreeSet<(u64, u64)>>,
    moved: BTreeMap<(Id, String), i128>,
    earned: BTreeMap<(Id, Id), i128>,
    posted: BTreeMap<(Id, Id), i128>,
    accounts: BTreeMap<Id, (Id, i128, i128)>,
}

/// A transfer as stored.
#[derive(Debug, Clone)]
pub(crate) struct Moved {
    /// Whose credit.
    pub(crate) issuer: Id,
    /// hold, earn, post, …
    pub(crate) kind: String,
    /// The account that pays.
    pub(crate) debit: Id,
    /// The account that is paid.
    pub(crate) credit: Id,
    /// Micro-credits.
    pub(crate) amount: i64,
    /// The job.
    pub(crate) job: Option<Id>,
    /// The host.
    pub(crate) host: Option<Id>,
}

/// What does not add up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Payments beyond what receipts justify: per host and job, per copy too many, per lease settled again, per segment that
    /// does not begin where the one before ended.
    pub(crate) double_paid: u64,
    /// Micro-credits that receipts justify and hosts did not get.
    pub(crate) unpaid: i128,
    /// Micro-credits by which balances differ from transfers, and their sums from zero.
    pub(crate) imbalance: i128,
}

impl Books {
    /// Notes a job.
    pub(crate) fn job(&mut self, id: Id, manifest: Manifest) {
        self.jobs.insert(id, manifest);
    }

    /// Notes that the receipts of a job were collected.
    pub(crate) fn collected(&mut self, id: Id) {
        self.collected.insert(id);
    }

    /// Notes a receipt of a host whose result was paid; `result` is false for one that was stopped on the way.
    pub(crate) fn receipt(
        &mut self,
        job: Id,
        host: Id,
        receipt: &Receipt,
        result: bool,
    ) -> anyhow::Result<()> {
        let manifest = self.jobs.get(&job);
        let manifest = manifest.ok_or_else(|| anyhow::anyhow!("a receipt of an unknown job"))?;
        let price = price::price(&manifest.tariff, receipt)?;
        let first = i128::from(manifest.tariff.compile);
        // The compile fee is a whole number once per job and host, so it can be added beside the rounded prices.
        *self.owed.entry((job, host)).or_insert(first) += price;
        *self.cpu.entry(job).or_default() += receipt.cpu_time;
        self.repeated += u64::from(!self.leases.insert((Digest(receipt.lease.0), receipt.task.0)));
        let index = receipt.segment.map_or(0, |segment| segment.index);
        let place = (job, receipt.task.0, index);
        *self.paid_copies.entry(place).or_default() += u32::from(result);
        if let Some(segment) = receipt.segment.filter(|_| result) {
            let span = (segment.fuel_before, segment.fuel_after);
            self.chains.entry(place).or_default().insert(span);
        }
        Ok(())
    }

    /// Notes a transfer.
    pub(crate) fn transfer(&mut self, moved: Moved) {
        let amount = i128::from(moved.amount);
        for (account, change) in [(moved.debit, -amount), (moved.credit, amount)] {
            self.accounts.entry(account).or_insert((moved.issuer, 0, 0)).1 += change;
        }
        if let (Some(job), Some(host)) = (moved.job, moved.host) {
            let place = (job, host);
            match moved.kind.as_str() {
                "earn" => *self.earned.entry(place).or_default() += amount,
                "void" => *self.earned.entry(place).or_default() -= amount,
                "post" => *self.posted.entry(place).or_default() += amount,
                _ => {}
            }
        }
        if let Some(job) = moved.job {
            *self.moved.entry((job, moved.kind)).or_default() += amount;
        }
    }

    /// Notes a balance, or a shard's part of one.
    pub(crate) fn balance(&mut self, account: Id, issuer: Id, amount: i64) {
        self.accounts.entry(account).or_insert((issuer, 0, 0)).2 += i128::from(amount);
    }

    /// Micro-credits moved for a job by transfers of one kind.
    pub(crate) fn moved(&self, job: &Id, kind: &str) -> i128 {
        self.moved.get(&(*job, kind.to_owned())).copied().unwrap_or(0)
    }

    /// Processor time that hosts used for a job's paid results, µs, as their receipts tell.
    pub(crate) fn cpu_us(&self, job: &Id) -> u64 {
        self.cpu.get(job).copied().unwrap_or(0)
    }

    /// Results that were paid.
    pub(crate) fn paid(&self) -> u64 {
        self.paid_copies.values().map(|copies| u64::from(*copies)).sum()
    }

    /// Adds everything up.
    pub(crate) fn findings(&self) -> Findings {
        let places: BTreeSet<_> = self.owed.keys().chain(self.earned.keys()).collect();
        let (mut over, mut unpaid) = (0, 0);
        for place in places {
            let of = |sums: &BTreeMap<(Id, Id), i128>| sums.get(place).copied().unwrap_or(0);
            let (owed, earned, posted) = (of(&self.owed), of(&self.earned), of(&self.posted));
            over += u64::from(posted > earned);
            if !self.collected.contains(&place.0) {
                over += u64::from(earned > owed);
                unpaid += (owed - earned).max(0);
            }
        }
        let double_paid = over + self.repeated + self.copies_too_many() + self.overlapping();
        Findings { double_paid, unpaid, imbalance: self.imbalance() }
    }

    fn copies_too_many(&self) -> u64 {
        let beyond = |((job, ..), copies): (&(Id, u32, u32), &u32)| {
            let allowed = match self.jobs.get(job).map(|manifest| manifest.policy) {
                Some(Policy::Quorum { n }) => u32::from(n),
                _ => 1,
            };
            u64::from(copies.saturating_sub(allowed))
        };
        self.paid_copies.iter().map(beyond).sum()
    }

    /// Paid segments that do not begin where the one before ended: some fuel of their task is paid twice, or was never run.
    fn overlapping(&self) -> u64 {
        let goes_on = |(job, task, index): &(Id, u32, u32), spans: &BTreeSet<(u64, u64)>| {
            let before = index.checked_sub(1).map(|before| self.chains.get(&(*job, *task, before)));
            let expected = match before {
                None => Some(0),
                Some(spans) => spans.and_then(|spans| spans.first()).map(|span| span.1),
            };
            spans.len() == 1 && spans.first().map(|span| span.0) == expected
        };
        self.chains.iter().map(|(place, spans)| u64::from(!goes_on(place, spans))).sum()
    }

    fn imbalance(&self) -> i128 {
        let mut sums: BTreeMap<Id, i128> = BTreeMap::new();
        let mut astray = 0;
        for (issuer, transfers, balance) in self.accounts.values() {
            *sums.entry(*issuer).or_default() += balance;
            astray += (transfers - balance).abs();
        }
        astray + sums.values().map(|sum| sum.abs()).sum::<i128>()
    }
}

#[cfg(test)]
mod tests;
