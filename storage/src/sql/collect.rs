//! Steps of collecting in SQL, and the lists of what may go.

use sqlx::{Connection, Transaction};
use tallymill_engine::Retention;
use tallymill_engine::rows::{BlobRow, JobRow};
use tallymill_protocol::{Digest, JobId, LeaseDigest, Micros};

use super::backend::failed;
use super::bulk::bulk;
use super::load::{many, plain};
use super::migrate::{fact, fence, set};
use super::note::note;
use super::read::{after, follows};
use super::value::{Cells, cells, put};
use super::{Backend, Hold, SqlStore, sql};
use crate::records::{BlobRecord, JobRecord, PackRecord, Record, ReportRecord, Unpacked};
use crate::{Answer, CollectError, Collection, CorruptRow, Done, Looked, Order, Page, ReadError};

/// One step as one transaction.
pub(super) async fn run<B: Backend>(
    connection: &mut B::Connection,
    hold: Hold,
    order: &Order,
    portion: u32,
) -> Result<Done, CollectError> {
    let mut transaction = connection.begin_with(B::BEGIN).await.map_err(failed::<B>)?;
    let tx = &mut transaction;
    fence(tx, hold).await?;
    let done = match order {
        Order::Note { after } => note(tx, *after, portion).await?,
        Order::Job { job, rule, now } => results(tx, *job, (rule, *now), portion).await?,
        Order::Reports(numbers) => reports(tx, numbers).await?,
        Order::Doom { digests, before } => doom(tx, digests, *before).await?,
        Order::Bury(digests) => bury(tx, digests).await?,
    };
    transaction.commit().await.map_err(failed::<B>)?;
    Ok(done)
}

async fn execute<B: Backend>(
    tx: &mut Transaction<'_, B>,
    sql: &'static str,
    cells: Cells,
) -> Result<u64, CollectError> {
    Ok(B::execute(tx, sql, cells).await.map_err(failed::<B>)?)
}

/// The next rows of a job's results. Decisions go first and what they stand on after them, so that nobody is shown a result
/// without its evidence; what a job needs goes last, and lets its blobs go.
async fn results<B: Backend>(
    tx: &mut Transaction<'_, B>,
    id: JobId,
    (rule, now): (&Retention, Micros),
    portion: u32,
) -> Result<Done, CollectError> {
    let found = many::<B, JobRecord, JobRow>(tx, sql!("job/get"), cells![id]).await?;
    let Some(job) = found.into_iter().next() else { return Ok(Done::Nothing) };
    let number = job.number;
    let undecided = plain::<B, (i64,)>(tx, sql!("replica/undecided"), cells![number]).await?;
    let undecided = undecided.first().map_or(0, |(count,)| count.unsigned_abs());
    if let Some(kept) = rule.keeps(&job, undecided, now) {
        return Ok(Done::Kept(kept));
    }
    let begin = cells![number, now];
    let begun = execute(tx, sql!("job/begin_collecting"), begin).await?;
    if begun > 0 {
        return Ok(Done::Rows(begun));
    }
    let by_number = || cells![number, portion];
    let by_id = || cells![id, portion];
    let mut gone = execute(tx, sql!("task/collect"), by_number()).await?;
    if gone == 0 {
        gone = replicas(tx, (id, number), portion).await?;
    }
    if gone == 0 {
        gone = execute(tx, sql!("segment/collect"), by_id()).await?;
    }
    if gone == 0 {
        remember_voids(tx).await?;
        gone = execute(tx, sql!("void_run/collect"), by_id()).await?;
    }
    if gone == 0 {
        gone = execute(tx, sql!("job_page/collect"), by_id()).await?;
    }
    if gone == 0 {
        gone = execute(tx, sql!("blob_use/collect"), by_number()).await?;
    }
    if gone > 0 {
        return Ok(Done::Rows(gone));
    }
    execute(tx, sql!("job_hold/collect"), cells![id]).await?;
    execute(tx, sql!("job/end_collecting"), cells![number, now]).await?;
    Ok(Done::Nothing)
}

/// Void runs are numbered on from the highest that ever was.
async fn remember_voids<B: Backend>(tx: &mut Transaction<'_, B>) -> Result<(), CollectError> {
    let last = plain::<B, (i64,)>(tx, sql!("void_run/last"), cells![]).await?;
    let last = last.first().map_or(0, |(last,)| last.unsigned_abs());
    let known = fact(tx, "void").await.map_err(failed::<B>)?;
    let known = known.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    set(tx, &[("void", &last.max(known).to_be_bytes())]).await?;
    Ok(())
}

/// The next results of a job, after the receipts of it in their reports.
async fn replicas<B: Backend>(
    tx: &mut Transaction<'_, B>,
    (id, number): (JobId, u64),
    portion: u32,
) -> Result<u64, CollectError> {
    let next = cells![number, portion];
    for (report,) in plain::<B, (i64,)>(tx, sql!("replica/reports"), next).await? {
        receipts(tx, report, (id, number)).await?;
    }
    execute(tx, sql!("replica/collect"), cells![number, portion]).await
}

/// Takes the receipts of a job out of a report. The leaves of what others have there are kept: their paths need them.
async fn receipts<B: Backend>(
    tx: &mut Transaction<'_, B>,
    number: i64,
    (id, job): (JobId, u64),
) -> Result<(), CollectError> {
    let Some((report, packs)) = opened(tx, number).await? else { return Ok(()) };
    let Some(left) = report.without(&packs, id)? else { return Ok(()) };
    match left {
        Some(leaves) => {
            execute(tx, sql!("report/set_leaves"), cells![number, leaves]).await?;
        }
        None => empty(tx, &report).await?,
    }
    execute(tx, sql!("receipt_pack/collect"), cells![number, job]).await?;
    Ok(())
}

/// A report that was not collected, with the receipts that are kept of it.
async fn opened<B: Backend>(
    tx: &mut Transaction<'_, B>,
    number: i64,
) -> Result<Option<(ReportRecord, Vec<Unpacked>)>, CollectError> {
    let found = plain::<B, ReportRecord>(tx, sql!("report/get_by_number"), cells![number]).await?;
    let Some(report) = found.into_iter().next() else { return Ok(None) };
    let all = cells![number, -1_i64];
    let packs = many::<B, PackRecord, Unpacked>(tx, sql!("receipt_pack/list"), all).await?;
    Ok(Some((report, packs)))
}

/// Takes everything from a report but its answer and its place in the log, and the lease tokens that no other report names.
async fn empty<B: Backend>(
    tx: &mut Transaction<'_, B>,
    report: &ReportRecord,
) -> Result<(), CollectError> {
    for LeaseDigest(digest) in report.leases()? {
        execute(tx, sql!("lease_token/release"), cells![digest]).await?;
        execute(tx, sql!("lease_token/collect"), cells![digest]).await?;
    }
    let nothing: &[u8] = &[];
    execute(tx, sql!("report/collect"), cells![report.number(), nothing]).await?;
    Ok(())
}

async fn reports<B: Backend>(
    tx: &mut Transaction<'_, B>,
    numbers: &[u64],
) -> Result<Done, CollectError> {
    let mut rows = 0;
    for number in numbers {
        let Ok(number) = i64::try_from(*number) else { continue };
        if let Some((report, packs)) = opened(tx, number).await?
            && packs.is_empty()
        {
            empty(tx, &report).await?;
            rows += 1;
        }
    }
    Ok(Done::Rows(rows))
}

/// Whoever uploads such a blob again waits until its bytes are gone, or takes it off the list before.
async fn doom<B: Backend>(
    tx: &mut Transaction<'_, B>,
    digests: &[Digest],
    before: Micros,
) -> Result<Done, CollectError> {
    let mut doomed: Vec<BlobRow> = Vec::new();
    for digest in digests {
        let found = many::<B, BlobRecord, BlobRow>(tx, sql!("blob/get"), cells![*digest]).await?;
        let gone = execute(tx, sql!("blob/doom"), cells![*digest, before]).await?;
        doomed.extend(found.into_iter().filter(|_| gone > 0));
    }
    bulk!("blob_doomed", "keep").run(tx, &doomed, |row, cells| put!(cells; row.digest)).await?;
    Ok(Done::Doomed(doomed))
}

async fn bury<B: Backend>(
    tx: &mut Transaction<'_, B>,
    digests: &[Digest],
) -> Result<Done, CollectError> {
    let buried = bulk!("blob_doomed", "delete");
    Ok(Done::Rows(buried.run(tx, digests, |digest, cells| put!(cells; *digest)).await?))
}

/// What a list says of its rows.
async fn looked<B: Backend, R: Record, K>(
    connection: &mut B::Connection,
    (sql, cells): (&'static str, Cells),
    read: fn(R) -> Option<Looked<K>>,
    table: &'static str,
) -> Result<Vec<Looked<K>>, ReadError> {
    let rows = plain::<B, R>(connection, sql, cells).await?;
    let rows: Option<Vec<_>> = rows.into_iter().map(read).collect();
    let corrupt = || CorruptRow { table, column: "key".to_owned(), key: "any".to_owned() };
    Ok(rows.ok_or_else(corrupt)?)
}

fn numbered((number, goes): (i64, i64)) -> Option<Looked<u64>> {
    Some(Looked { key: u64::try_from(number).ok()?, goes: goes != 0 })
}

fn named((digest, goes): (Vec<u8>, i64)) -> Option<Looked<Digest>> {
    Some(Looked { key: Digest::from_slice(&digest)?, goes: goes != 0 })
}

fn alone((digest,): (Vec<u8>,)) -> Option<Looked<Digest>> {
    named((digest, 1))
}

impl<B: Backend> Collection for SqlStore<B> {
    fn collect<'a>(&'a self, order: &'a Order, portion: u32) -> Answer<'a, Done, CollectError> {
        Box::pin(self.step(order, portion))
    }

    fn collecting(&self, page: Page<u64>) -> Answer<'_, Vec<JobRow>> {
        let cells = cells![after(page.after), page.rows()];
        self.list::<JobRecord, _>(sql!("job/list_collecting"), cells)
    }

    fn ended(&self, before: Micros, page: Page<(Micros, u64)>) -> Answer<'_, Vec<JobRow>> {
        let (ended, number) = page.after.unzip();
        let (ended, number) = (after(ended.map(|ended| ended.0)), after(number));
        let cells = cells![before, ended, number, page.rows()];
        self.list::<JobRecord, _>(sql!("job/list_ended"), cells)
    }

    fn lone_reports(&self, before: Micros, page: Page<u64>) -> Answer<'_, Vec<Looked<u64>>> {
        let query = (sql!("report/list_lone"), cells![after(page.after), before, page.rows()]);
        self.read(1, move |connection| {
            Box::pin(looked::<B, _, _>(connection, query, numbered, "report"))
        })
    }

    fn idle_blobs(&self, before: Micros, page: Page<Digest>) -> Answer<'_, Vec<Looked<Digest>>> {
        let from = follows(page.after.as_ref().map(|digest| &digest.0));
        let query = (sql!("blob/list_idle"), cells![from, before, page.rows()]);
        self.read(1, move |connection| {
            Box::pin(looked::<B, _, _>(connection, query, named, "blob"))
        })
    }

    fn doomed(&self, page: Page<Digest>) -> Answer<'_, Vec<Digest>> {
        let from = follows(page.after.as_ref().map(|digest| &digest.0));
        let query = (sql!("blob_doomed/list"), cells![from, page.rows()]);
        self.read(1, move |connection| {
            Box::pin(async move {
                let found = looked::<B, _, _>(connection, query, alone, "blob_doomed").await?;
                Ok(found.into_iter().map(|row| row.key).collect())
            })
        })
    }
}
