//! Reports, the receipts in them, and the replicas that the receipts became.

use std::collections::{BTreeSet, HashMap};

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};
use tallymill_engine::rows::{ReplicaRow, ReportRow};
use tallymill_protocol::{Digest, JobId, LeaseDigest, Message as _, Receipt, SignedBytes, merkle};

use super::Record;
use super::cell::{Cell, Shown};
use crate::packs::unpack;
use crate::{CorruptRow, Leaf};

columns! {
    /// Columns of a replica without its receipt, with the number of its report.
    ReplicaRecord {
        job: Vec<u8>,
        task: i64,
        segment: i64,
        host: Vec<u8>,
        owner: Vec<u8>,
        attempt: Vec<u8>,
        state: String,
        report: Vec<u8>,
        number: i64,
        position: i64,
        lease: Vec<u8>,
        output: Option<Vec<u8>>,
        log: Option<Vec<u8>>,
        amount: i64,
        final_after: Option<i64>,
        at: i64,
        near: Option<Vec<u8>>,
        relaxed: bool,
    }
}

impl Record for ReplicaRecord {
    const TABLE: &'static str = "replica";
}

/// A replica whose receipt is still to be found in the packs of its report.
pub(crate) struct Filed {
    report: i64,
    row: ReplicaRow,
}

impl TryFrom<ReplicaRecord> for Filed {
    type Error = CorruptRow;

    fn try_from(record: ReplicaRecord) -> Result<Self, CorruptRow> {
        macro_rules! read {
            ($field:ident) => {
                column!(record, "replica", [job, task, segment, host], $field, stringify!($field))?
            };
        }
        let row = ReplicaRow {
            job: read!(job),
            task: read!(task),
            segment: read!(segment),
            host: read!(host),
            owner: read!(owner),
            attempt: read!(attempt),
            state: read!(state),
            report: read!(report),
            position: read!(position),
            receipt: Vec::new(),
            lease: read!(lease),
            output: read!(output),
            log: read!(log),
            amount: read!(amount),
            final_after: read!(final_after),
            at: read!(at),
            near: read!(near),
            relaxed: read!(relaxed),
        };
        Ok(Self { report: record.number, row })
    }
}

columns! {
    /// Columns of a pack of receipts.
    PackRecord {
        report: i64,
        position: i64,
        packing: i16,
        bytes: Vec<u8>,
        job: Vec<u8>,
    }
}

impl Record for PackRecord {
    const TABLE: &'static str = "receipt_pack";
}

/// Receipts of one job in one report, by their positions there.
pub(crate) struct Unpacked {
    report: i64,
    job: JobId,
    receipts: Vec<(u32, Vec<u8>)>,
}

/// A pack that does not hold what it should.
fn spoiled(report: i64, position: i64) -> CorruptRow {
    let key = [report.shown(), position.shown()].join(" ");
    CorruptRow { table: "receipt_pack", column: "bytes".to_owned(), key }
}

impl TryFrom<PackRecord> for Unpacked {
    type Error = CorruptRow;

    fn try_from(record: PackRecord) -> Result<Self, CorruptRow> {
        macro_rules! read {
            ($field:ident) => {
                column!(record, "receipt_pack", [report, position], $field, stringify!($field))?
            };
        }
        let receipts = unpack(read!(position), read!(packing), &record.bytes);
        let receipts = receipts.ok_or_else(|| spoiled(record.report, record.position))?;
        Ok(Self { report: record.report, job: read!(job), receipts })
    }
}

impl Unpacked {
    /// The receipts with their positions.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = &(u32, Vec<u8>)> {
        self.receipts.iter()
    }

    /// The receipts as leaves of their report.
    pub(crate) fn leaves(self) -> impl Iterator<Item = Result<Leaf, CorruptRow>> {
        let Self { report, job, receipts } = self;
        receipts.into_iter().map(move |(position, receipt)| {
            let task = Receipt::from_bytes(&receipt).map(|read| read.task);
            let task = task.map_err(|_| spoiled(report, position.into()))?;
            Ok(Leaf { position, job, task, receipt })
        })
    }
}

/// Gives each replica its receipt.
pub(crate) fn file(filed: Vec<Filed>, packs: Vec<Unpacked>) -> Result<Vec<ReplicaRow>, CorruptRow> {
    let of_pack = |pack: Unpacked| {
        let report = pack.report;
        pack.receipts.into_iter().map(move |(position, receipt)| ((report, position), receipt))
    };
    let mut receipts: HashMap<(i64, u32), Vec<u8>> = packs.into_iter().flat_map(of_pack).collect();
    let with = |Filed { report, mut row }: Filed| {
        let receipt = receipts.remove(&(report, row.position));
        row.receipt = receipt.ok_or_else(|| spoiled(report, row.position.into()))?;
        Ok(row)
    };
    filed.into_iter().map(with).collect()
}

columns! {
    /// Columns of a report without its lease tokens.
    ReportRecord {
        root: Vec<u8>,
        host: Vec<u8>,
        sequence: i64,
        epoch: i64,
        envelope: Vec<u8>,
        leaves: Vec<u8>,
        leases: Vec<u8>,
        receipts: i64,
        verdicts: Vec<u8>,
        log_index: i64,
        at: i64,
    }
}

impl Record for ReportRecord {
    const TABLE: &'static str = "report";
}

impl ReportRecord {
    /// Digests of its lease tokens.
    pub(crate) fn leases(&self) -> Result<Vec<LeaseDigest>, CorruptRow> {
        let digests: Vec<Digest> = column!(self, "report", [root], leases, "leases")?;
        Ok(digests.into_iter().map(|digest| LeaseDigest(digest.0)).collect())
    }

    /// Its number: its place in the log.
    pub(crate) const fn number(&self) -> i64 {
        self.log_index
    }

    /// What is left when the receipts of a job leave it: nothing, or the leaves of those that are in no other pack. `None` when
    /// it has none of that job.
    pub(crate) fn without(
        &self,
        packs: &[Unpacked],
        job: JobId,
    ) -> Result<Option<Option<Vec<u8>>>, CorruptRow> {
        if packs.iter().all(|pack| pack.job != job) {
            return Ok(None);
        }
        let stay: BTreeSet<u32> = packs
            .iter()
            .filter(|pack| pack.job != job)
            .flat_map(|pack| pack.receipts.iter().map(|(position, _)| *position))
            .collect();
        if stay.is_empty() {
            return Ok(Some(None));
        }
        let spoiled =
            || CorruptRow { table: "report", column: "leaves".to_owned(), key: self.root.shown() };
        let stored = column!(self, "report", [root], leaves, "leaves")?;
        let receipts = column!(self, "report", [root], receipts, "receipts")?;
        let leaves = whole(stored, receipts, packs).ok_or_else(spoiled)?;
        let left = (0..).zip(leaves).filter(|(position, _)| !stay.contains(position));
        Ok(Some(Some(left.flat_map(|(_, leaf)| leaf.0).collect())))
    }

    /// The row with these lease tokens and the packs of its receipts.
    pub(crate) fn with(
        self,
        leases: Vec<(LeaseDigest, SignedBytes)>,
        packs: &[Unpacked],
    ) -> Result<ReportRow, CorruptRow> {
        macro_rules! read {
            ($field:ident) => {
                column!(self, "report", [root], $field, stringify!($field))?
            };
        }
        Ok(ReportRow {
            root: read!(root),
            host: read!(host),
            sequence: read!(sequence),
            epoch: read!(epoch),
            envelope: read!(envelope),
            leases,
            leaves: whole(read!(leaves), read!(receipts), packs).ok_or_else(|| CorruptRow {
                table: "report",
                column: "leaves".to_owned(),
                key: self.root.shown(),
            })?,
            receipts: read!(receipts),
            verdicts: read!(verdicts),
            log_index: read!(log_index),
            at: read!(at),
        })
    }
}

/// The leaves of a report of so many receipts: those stored, between those of the receipts that are. Rows of before packs
/// store all of them, which must then be those of the receipts.
fn whole(stored: Vec<Digest>, receipts: u32, packs: &[Unpacked]) -> Option<Vec<Digest>> {
    let count = usize::try_from(receipts).ok()?;
    let mut leaves = vec![None; count];
    for (position, receipt) in packs.iter().flat_map(|pack| &pack.receipts) {
        *leaves.get_mut(usize::try_from(*position).ok()?)? = Some(merkle::leaf(receipt));
    }
    if stored.len() == count {
        let same =
            |(leaf, stored): (&Option<Digest>, &Digest)| leaf.is_none_or(|leaf| leaf == *stored);
        return leaves.iter().zip(&stored).all(same).then_some(stored);
    }
    let mut stored = stored.into_iter();
    let whole = leaves.into_iter().map(|leaf| leaf.or_else(|| stored.next())).collect();
    stored.next().is_none().then_some(whole)?
}
