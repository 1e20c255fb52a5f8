//! Believes or refuses a report before the engine sees it: signatures, root, leases, digests.

use std::collections::HashMap;
use std::sync::Arc;

use tallymill_engine::{CheckedReceipt, CheckedReport};
use tallymill_protocol::work::ReportUpload;
use tallymill_protocol::{
    CoordinatorId, DecodeError, Digest, HostId, Lease, LeaseDigest, Message as _, Network, Outcome,
    Receipt, Report, VerifyError, snapshot,
};

use crate::blobs::{BlobError, BlobStore};
use crate::claims::{Claimed, Claims, Removed};
use crate::snapshots;

/// Why a report as a whole is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The blobs cannot be read now: that is not the host's doing, so nothing is said of its report.
    #[error("failed to read what a receipt names")]
    Blobs(#[from] BlobError),
    /// They are being removed, and that takes long.
    #[error(transparent)]
    Removed(#[from] Removed),
    /// Not signed by the host that calls.
    #[error("report: {0}")]
    Signature(VerifyError),
    /// For another network, coordinator or host, or of another format.
    #[error("report.{field}: it names {found}, expected {expected}")]
    Names {
        /// The field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// Receipts and lists do not fit together.
    #[error("report.{field}: {found} entries for {expected} receipts")]
    Count {
        /// The list.
        field: &'static str,
        /// Its entries.
        found: usize,
        /// Entries it should have.
        expected: usize,
    },
    /// The receipts are not those under the signed root.
    #[error("report.root: the receipts are not those under the signed root")]
    Root,
    /// A lease token that this coordinator did not sign.
    #[error("leases[{at}]: {source}")]
    Lease {
        /// Position.
        at: usize,
        /// What is wrong.
        source: VerifyError,
    },
    /// A lease of another host, network, coordinator or epoch.
    #[error("leases[{at}].{field}: the lease is for another {field} than the report")]
    Foreign {
        /// Position.
        at: usize,
        /// What differs.
        field: &'static str,
    },
    /// A receipt that is none.
    #[error("receipts[{at}]: {source}")]
    Receipt {
        /// Position.
        at: usize,
        /// What is wrong.
        source: DecodeError,
    },
    /// A receipt under a lease that is not in the upload.
    #[error("receipts[{at}].lease: its lease token is not in the upload")]
    NoLease {
        /// Position.
        at: usize,
    },
}

/// Who checks, and who calls.
#[derive(Debug, Clone, Copy)]
pub struct Checker<'c> {
    /// The network.
    pub network: &'c Network,
    /// This coordinator.
    pub coordinator: CoordinatorId,
    /// The host that calls.
    pub host: HostId,
    /// Where large outputs must be.
    pub blobs: &'c BlobStore,
    /// Who relies on which of them.
    pub claims: &'c Claims,
}

impl Checker<'_> {
    /// The report with everything checked, and the blobs that it names, which stay until they are let go; receipts that alone
    /// are wrong carry the reason.
    ///
    /// # Errors
    /// When the report as a whole cannot be believed.
    pub async fn check(
        &self,
        upload: ReportUpload,
    ) -> Result<(CheckedReport, Vec<Claimed>), ReportError> {
        let report = self.open(&upload)?;
        let leases = self.leases(&upload, &report)?;
        let mut receipts = Vec::with_capacity(upload.receipts.0.len());
        let (outputs, logs, nothing) = (upload.outputs.0, upload.logs.0, Digest::of(b""));
        let (inline, mut claimed) = (outputs.into_iter().zip(logs), Vec::new());
        for (at, (bytes, (output, log))) in upload.receipts.0.into_iter().zip(inline).enumerate() {
            let receipt = Receipt::from_bytes(&bytes.0)
                .map_err(|source| ReportError::Receipt { at, source })?;
            let lease = leases.get(&receipt.lease).ok_or(ReportError::NoLease { at })?;
            let lease = Arc::clone(lease);
            let mut refused = fits(&receipt, &lease);
            if refused.is_none() {
                let blobs = [(&output, receipt.output), (&log, receipt.log)];
                let blobs = blobs.iter().filter(|(inline, _)| inline.0.is_empty());
                let blobs = blobs.map(|(_, digest)| *digest).filter(|it| *it != nothing).collect();
                claimed.extend(self.claims.claim_all(blobs).await?);
                refused = self.bytes(&receipt, &output.0, &log.0).await?;
            }
            if refused.is_none() && receipt.outcome == Outcome::Paused {
                refused = snapshots::doubt(self.blobs, &receipt, lease.limits).await?;
            }
            let keep = |bytes: Vec<u8>, digest| (Digest::of(&bytes) == digest).then_some(bytes);
            let (output, log) = (keep(output.0, receipt.output), keep(log.0, receipt.log));
            receipts.push(CheckedReceipt { receipt, bytes: bytes.0, lease, output, log, refused });
        }
        let leases = upload.leases.0.iter();
        let leases =
            leases.map(|l| (Lease::digest_of(l.payload()), l.envelope().clone())).collect();
        let envelope = upload.report.envelope().clone();
        Ok((CheckedReport { report, envelope, receipts, leases, known: None }, claimed))
    }

    fn open(&self, upload: &ReportUpload) -> Result<Report, ReportError> {
        let report = upload.report.open(&self.host.into()).map_err(ReportError::Signature)?;
        let names = [
            ("format", report.format.to_string(), "1".to_owned()),
            ("network", report.network.to_string(), self.network.to_string()),
            ("host", report.host.to_string(), self.host.to_string()),
            ("coordinator", report.coordinator.to_string(), self.coordinator.to_string()),
        ];
        if let Some((field, found, expected)) = names.into_iter().find(|(_, a, b)| a != b) {
            return Err(ReportError::Names { field, found, expected });
        }
        let expected = upload.receipts.0.len();
        let lists = [("outputs", upload.outputs.0.len()), ("logs", upload.logs.0.len())];
        if let Some((field, found)) = lists.into_iter().find(|(_, found)| *found != expected) {
            return Err(ReportError::Count { field, found, expected });
        }
        let covered = report.covers(upload.receipts.0.iter().map(|receipt| receipt.0.as_slice()));
        if covered { Ok(report) } else { Err(ReportError::Root) }
    }

    fn leases(
        &self,
        upload: &ReportUpload,
        report: &Report,
    ) -> Result<HashMap<LeaseDigest, Arc<Lease>>, ReportError> {
        let mut leases = HashMap::new();
        for (at, token) in upload.leases.0.iter().enumerate() {
            let lease = token
                .open(&self.coordinator.into())
                .map_err(|source| ReportError::Lease { at, source })?;
            let same = [
                ("network", lease.network == *self.network),
                ("coordinator", lease.coordinator == self.coordinator),
                ("host", lease.host == self.host),
                ("epoch", lease.epoch == report.epoch),
            ];
            if let Some((field, _)) = same.into_iter().find(|(_, same)| !same) {
                return Err(ReportError::Foreign { at, field });
            }
            leases.insert(Lease::digest_of(token.payload()), Arc::new(lease));
        }
        Ok(leases)
    }

    /// Why the output or the log is not what the receipt says; `None` when both are.
    async fn bytes(
        &self,
        receipt: &Receipt,
        output: &[u8],
        log: &[u8],
    ) -> Result<Option<String>, BlobError> {
        let refused = |why: &str| Ok(Some(why.to_owned()));
        if output.is_empty() && receipt.bytes_out > 0 {
            match self.blobs.length(receipt.output).await? {
                Some(length) if length == receipt.bytes_out => {}
                Some(_) => return refused("bytes_out: not the length of the uploaded output"),
                None => return refused("output: upload it as a blob first"),
            }
        } else if Digest::of(output) != receipt.output || output.len() as u64 != receipt.bytes_out {
            return refused("output: the bytes are not those of the receipt");
        }
        if Digest::of(log) == receipt.log
            || log.is_empty() && self.blobs.length(receipt.log).await?.is_some()
        {
            return Ok(None);
        }
        refused("log: the bytes are not those of the receipt")
    }
}

/// Why a receipt does not fit its lease; `None` when it does.
fn fits(receipt: &Receipt, lease: &Lease) -> Option<String> {
    let limits = &lease.limits;
    let longest = match receipt.outcome {
        Outcome::Paused => snapshot::max_len(limits),
        _ => limits.output,
    };
    let rules = [
        (receipt.format == 1, "format: must be 1".to_owned()),
        (lease.covers(receipt.task), format!("task: {} is not under its lease", receipt.task)),
        (receipt.module == lease.module, "module: not the lease's module".to_owned()),
        (
            receipt.fuel <= limits.fuel,
            format!("fuel: {} is above the lease's limit of {}", receipt.fuel, limits.fuel),
        ),
        (
            receipt.bytes_out <= longest,
            format!("bytes_out: {} is above the lease's limit of {longest}", receipt.bytes_out),
        ),
    ];
    rules.into_iter().find(|(holds, _)| !holds).map(|(_, why)| why)
}
