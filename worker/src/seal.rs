//! From results to a report on disk.

use std::sync::Arc;

use tallymill_protocol::cbor::{Blob, List, Text};
use tallymill_protocol::work::{MAX_INLINE, ReportUpload, SegmentStart, VoidCause};
use tallymill_protocol::{Digest, Lease, LeaseDigest, Micros, Outcome, Receipt, Segment};
use tallymill_sandbox::{SegmentResult, TaskResult, TaskSpec, Void};

use crate::execute::Prepared;
use crate::files::{now, random};
use crate::job::Part;
use crate::outbox::Entry;
use crate::signer::Sealed;
use crate::spool::Spool;

/// A finished task.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) receipt: Receipt,
    pub(crate) bytes: Bytes,
}

/// What a task wrote: in full where it is small.
#[derive(Debug)]
pub(crate) struct Bytes {
    pub(crate) output: Vec<u8>,
    pub(crate) log: Vec<u8>,
    pub(crate) large: Vec<Digest>,
}

impl Done {
    pub(crate) const fn inline(&self) -> usize {
        self.bytes.output.len() + self.bytes.log.len()
    }
}

/// What every receipt of a run shares.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub(crate) lease: Lease,
    pub(crate) digest: LeaseDigest,
    pub(crate) module: Prepared,
    pub(crate) engine: &'static str,
    pub(crate) spool: Arc<Spool>,
}

impl Stamp {
    /// The receipt of a segment.
    pub(crate) fn paused(
        &self,
        task: &TaskSpec,
        part: &Part,
        ended: SegmentResult,
        began: Micros,
    ) -> Result<Done, Void> {
        let SegmentStart { index, root, fuel, .. } = part.start;
        let segment = Segment {
            index,
            before: root,
            after: ended.after,
            fuel_before: fuel,
            fuel_after: fuel.saturating_add(ended.result.fuel),
        };
        self.receipt(task, ended.result, (began, Some(segment)))
    }

    /// The receipt of a result; large bytes go to disk at once, so that they need not be held.
    pub(crate) fn done(
        &self,
        task: &TaskSpec,
        result: TaskResult,
        began: Micros,
    ) -> Result<Done, Void> {
        self.receipt(task, result, (began, None))
    }

    fn receipt(
        &self,
        task: &TaskSpec,
        result: TaskResult,
        (began, segment): (Micros, Option<Segment>),
    ) -> Result<Done, Void> {
        let salt = random::<32>().map_err(|e| Void::new(VoidCause::Other, e.to_string()))?;
        let receipt = Receipt {
            format: 1,
            lease: self.digest,
            task: task.index,
            input: Digest::of(&task.input),
            output: Digest::of(&result.output),
            outcome: result.outcome,
            fuel: result.fuel,
            peak_memory: result.peak_memory,
            memory_fuel: result.memory_fuel,
            bytes_in: result.bytes_in,
            bytes_out: result.bytes_out,
            module: self.lease.module,
            metered: self.module.metered,
            log: Digest::of(&result.log),
            segment,
            engine: Text(self.engine.to_owned()),
            cpu_time: result.cpu_time_us,
            started: began,
            finished: now(),
            salt,
        };
        let mut large = Vec::new();
        // A snapshot is read by those who go on from it: it is always a blob.
        let most = if receipt.outcome == Outcome::Paused { 0 } else { MAX_INLINE };
        let output = spool(&self.spool, (result.output, most), receipt.output, &mut large)?;
        let log = spool(&self.spool, (result.log, MAX_INLINE), receipt.log, &mut large)
            .inspect_err(|_| large.iter().for_each(|kept| drop(self.spool.release(kept))))?;
        Ok(Done { receipt, bytes: Bytes { output, log, large } })
    }
}

fn spool(
    spool: &Spool,
    (bytes, most): (Vec<u8>, usize),
    digest: Digest,
    large: &mut Vec<Digest>,
) -> Result<Vec<u8>, Void> {
    if bytes.len() <= most {
        return Ok(bytes);
    }
    // A full disk is not the task's fault: it counts as if the owner had paused the worker.
    spool
        .put(digest, &bytes)
        .map_err(|error| Void::new(VoidCause::Withdrawn, error.to_string()))?;
    large.push(digest);
    Ok(Vec::new())
}

/// The entry for the outbox.
pub(crate) fn entry(sealed: Sealed, bytes: Vec<Bytes>) -> Entry {
    let (mut outputs, mut logs, mut large) = (Vec::new(), Vec::new(), Vec::new());
    for bytes in bytes {
        outputs.push(Blob(bytes.output));
        logs.push(Blob(bytes.log));
        large.extend(bytes.large);
    }
    let upload = ReportUpload {
        report: sealed.report,
        leases: List(sealed.leases),
        receipts: List(sealed.receipts.into_iter().map(Blob).collect()),
        outputs: List(outputs),
        logs: List(logs),
    };
    Entry { upload, large, report: sealed.message }
}

/// A receipt that says nothing, for tests that fill in what matters to them.
#[cfg(test)]
pub(crate) fn blank_receipt() -> Receipt {
    let zero = Digest::ZERO;
    Receipt {
        format: 1,
        lease: LeaseDigest([0; 32]),
        task: tallymill_protocol::TaskIndex(0),
        input: zero,
        output: zero,
        outcome: Outcome::Exited(0),
        fuel: 1,
        peak_memory: 0,
        memory_fuel: 0,
        bytes_in: 0,
        bytes_out: 0,
        module: zero,
        metered: zero,
        log: zero,
        segment: None,
        engine: Text("e".into()),
        cpu_time: 0,
        started: Micros(0),
        finished: Micros(0),
        salt: [0; 32],
    }
}
