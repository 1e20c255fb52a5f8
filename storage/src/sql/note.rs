//! What jobs of before the table of uses need: their manifests say it, and the receipts of what hosts reported.

use std::collections::BTreeMap;

use sqlx::Transaction;
use tallymill_protocol::{
    Digest, JobId, Manifest, Message as _, Receipt, Signed, SignedBytes, TaskIndex,
};

use super::backend::failed;
use super::bulk::bulk;
use super::load::{many, plain};
use super::value::{cells, put};
use super::{Backend, sql};
use crate::records::{PackRecord, Unpacked};
use crate::{CollectError, CorruptRow, Done};

/// Notes the next tasks of the first job that is not noted, or that there are none.
pub(super) async fn note<B: Backend>(
    tx: &mut Transaction<'_, B>,
    after: Option<(JobId, TaskIndex)>,
    portion: u32,
) -> Result<Done, CollectError> {
    let found = plain::<B, (i64, Vec<u8>)>(tx, sql!("job/to_note"), cells![]).await?;
    let Some((number, envelope)) = found.into_iter().next() else { return Ok(Done::Nothing) };
    let corrupt =
        || CorruptRow { table: "job", column: "envelope".to_owned(), key: number.to_string() };
    let envelope = SignedBytes::from_bytes(&envelope).map_err(|_| corrupt())?;
    let id = Manifest::id_of(&envelope.payload.0);
    let after = after.filter(|(job, _)| *job == id).map(|(_, task)| task);
    let from = after.map_or(-1, |task| i64::from(task.0));
    let page = cells![number, from, portion];
    let tasks = plain::<B, (i64,)>(tx, sql!("replica/list_tasks_with_blobs"), page).await?;
    let mut needed = Vec::new();
    if after.is_none() {
        let manifest: Manifest = Signed::new(envelope).peek().map_err(|_| corrupt())?;
        needed.extend(manifest.blobs());
    }
    for (task,) in &tasks {
        reported(tx, (number, *task), &mut needed).await?;
    }
    bulk!("blob_use", "note")
        .run(tx, &needed, |digest, cells| put!(cells; *digest, number))
        .await?;
    let last = tasks.last().and_then(|(task,)| u32::try_from(*task).ok());
    if let Some(task) = last {
        return Ok(Done::Noted(id, TaskIndex(task)));
    }
    let noted = cells![number];
    let rows = B::execute(tx, sql!("job/end_noting"), noted).await.map_err(failed::<B>)?;
    Ok(Done::Rows(rows))
}

/// Outputs and logs of a task that are blobs. Small ones stand in the rows of results: their digests name no blob, which
/// does no harm.
async fn reported<B: Backend>(
    tx: &mut Transaction<'_, B>,
    (job, task): (i64, i64),
    needed: &mut Vec<Digest>,
) -> Result<(), CollectError> {
    let places = cells![job, task];
    let places = plain::<B, (i64, i64)>(tx, sql!("replica/list_blobs"), places).await?;
    let mut reports: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (report, position) in places {
        reports.entry(report).or_default().push(position);
    }
    for (report, positions) in reports {
        let all = cells![report, -1_i64];
        let packs = many::<B, PackRecord, Unpacked>(tx, sql!("receipt_pack/list"), all).await?;
        for (position, bytes) in packs.iter().flat_map(Unpacked::receipts) {
            if !positions.contains(&i64::from(*position)) {
                continue;
            }
            let receipt = Receipt::from_bytes(bytes).map_err(|_| CorruptRow {
                table: "receipt_pack",
                column: "bytes".to_owned(),
                key: format!("{report} {position}"),
            })?;
            needed.extend([receipt.output, receipt.log]);
        }
    }
    Ok(())
}
