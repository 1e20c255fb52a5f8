//! Snapshots that hosts upload: what one says is computed from its bytes, before a receipt about it counts.
//!
//! A snapshot may be as large as a guest's memory, so they are read one at a time; what was computed is remembered by
//! digest, since every host of a quorum names the same bytes, and a report may come again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tallymill_protocol::snapshot::{PAGE, decode};
use tallymill_protocol::{Digest, Limits, Receipt};
use tokio::sync::Semaphore;

use crate::blobs::{BlobError, BlobStore};

/// Snapshots whose facts are remembered.
const KEPT: usize = 1_024;

/// What the bytes of a snapshot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stated {
    root: Digest,
    metered: Digest,
    fuel: u64,
    peak_memory: u64,
}

/// The snapshots read last, newest first, and the turn to read one.
#[derive(Debug)]
pub(crate) struct Snapshots {
    turn: Semaphore,
    known: Mutex<VecDeque<((Digest, Limits), Stated)>>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), known: Mutex::default() }
    }
}

impl Snapshots {
    fn get(&self, key: (Digest, Limits)) -> Option<Stated> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(found, _)| *found == key).map(|(_, stated)| *stated)
    }

    fn put(&self, key: (Digest, Limits), stated: Stated) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_front((key, stated));
        known.truncate(KEPT);
    }
}

/// Why the snapshot of a paused segment is not what its receipt says; `None` when it is.
///
/// # Errors
/// When the blobs cannot be read now.
pub(crate) async fn doubt(
    blobs: &BlobStore,
    receipt: &Receipt,
    limits: Limits,
) -> Result<Option<String>, BlobError> {
    let Some(segment) = receipt.segment else {
        return Ok(Some("segment: a paused task has one".to_owned()));
    };
    let stated = match stated(blobs, (receipt.output, receipt.bytes_out), limits).await? {
        Ok(stated) => stated,
        Err(why) => return Ok(Some(format!("output: {why}"))),
    };
    let rules = [
        (stated.root == segment.after, "segment: the state root is not that of the snapshot"),
        (stated.fuel == segment.fuel_after, "segment: the fuel is not that of the snapshot"),
        (stated.metered == receipt.metered, "metered: not the module of the snapshot"),
        (stated.peak_memory == receipt.peak_memory, "peak_memory: not that of the snapshot"),
    ];
    Ok(rules.into_iter().find(|(holds, _)| !holds).map(|(_, why)| why.to_owned()))
}

async fn stated(
    blobs: &BlobStore,
    (digest, length): (Digest, u64),
    limits: Limits,
) -> Result<Result<Stated, String>, BlobError> {
    let (snapshots, key) = (&blobs.snapshots, (digest, limits));
    if let Some(known) = snapshots.get(key) {
        return Ok(Ok(known));
    }
    let _turn = snapshots.turn.acquire().await.map_err(std::io::Error::other)?;
    // Whoever had the turn before may have read the same one.
    if let Some(known) = snapshots.get(key) {
        return Ok(Ok(known));
    }
    let Some(bytes) = blobs.read(digest, 0, length).await? else {
        return Ok(Err("upload it as a blob first".to_owned()));
    };
    let read = tokio::task::spawn_blocking(move || read(&bytes, &limits)).await;
    let stated = read.map_err(std::io::Error::other)?;
    if let Ok(stated) = stated {
        snapshots.put(key, stated);
    }
    Ok(stated)
}

fn read(bytes: &[u8], limits: &Limits) -> Result<Stated, String> {
    let snapshot = decode(bytes, limits).map_err(|error| error.to_string())?;
    let facts = snapshot.facts;
    Ok(Stated {
        root: snapshot.root(),
        metered: facts.metered,
        fuel: facts.fuel,
        peak_memory: u64::from(facts.peak_pages) * PAGE as u64,
    })
}
