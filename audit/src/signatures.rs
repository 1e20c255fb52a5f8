//! Who signed what: from the submitter's manifest to the host's receipt.

use tallymill_protocol::{
    ChainError, DecodeError, Digest, Inputs, Key, Lease, Manifest, ManifestError, Message as _,
    Outcome, Receipt, Report, VerifyError, merkle, snapshot,
};

use crate::evidence::Evidence;

/// Why a receipt is not believed to be what it seems.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// A signature is missing or another's.
    #[error(transparent)]
    Signature(#[from] VerifyError),
    /// The submitter's keys do not follow each other.
    #[error(transparent)]
    Keys(#[from] ChainError),
    /// A part does not decode.
    #[error("a part of the evidence does not decode: {0}")]
    Decode(#[from] DecodeError),
    /// The manifest breaks a rule.
    #[error("the manifest is not valid: {0}")]
    Manifest(#[from] ManifestError),
    /// The lease is of a coordinator that is not the trusted one.
    #[error("the lease is signed by coordinator {found}, not by the trusted {trusted}")]
    Coordinator {
        /// Whom the reader trusts.
        trusted: Key,
        /// Who signed.
        found: Key,
    },
    /// The receipt is not in the report at its position.
    #[error("the receipt is not under the report's root at position {position}")]
    Inclusion {
        /// The position claimed.
        position: u32,
    },
    /// The input is not the one that the manifest binds to the task.
    #[error("the receipt's input {found} is not the one the manifest binds to task {task}")]
    Input {
        /// The task.
        task: u32,
        /// The receipt's input.
        found: Digest,
    },
    /// Two parts that must agree do not.
    #[error("{0}")]
    Disagree(&'static str),
}

/// Parts whose signatures and agreement were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
    /// The job.
    pub manifest: Manifest,
    /// The lease.
    pub lease: Lease,
    /// The report.
    pub report: Report,
    /// The receipt.
    pub receipt: Receipt,
}

/// Checks every signature and that all parts are about the same task of the same job; `trusted` is the coordinator the reader
/// knows, if any. What the receipt says about the run itself is not judged here: run it again for that.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_signatures(evidence: &Evidence, trusted: Option<Key>) -> Result<Believed, Doubt> {
    let manifest = manifest(evidence)?;
    let coordinator = evidence.lease.peek()?.coordinator;
    if let Some(trusted) = trusted.filter(|trusted| *trusted != Key::from(coordinator)) {
        return Err(Doubt::Coordinator { trusted, found: coordinator.into() });
    }
    let lease = evidence.lease.open(&coordinator.into())?;
    let host = evidence.report.peek()?.host;
    let report = evidence.report.open(&host.into())?;
    let receipt = Receipt::from_bytes(&evidence.receipt)?;
    included(evidence, &report)?;
    let believed = Believed { manifest, lease, report, receipt };
    agree(evidence, &believed)?;
    input(evidence, &believed)?;
    Ok(believed)
}

/// The manifest, signed by the key that the evidence's chain of keys ends with: without one, the submitter's first.
fn manifest(evidence: &Evidence) -> Result<Manifest, Doubt> {
    let claimed = evidence.manifest.peek()?;
    let keys = evidence.keys.keys(&claimed.network, claimed.submitter)?;
    let current = keys.last().copied().unwrap_or(claimed.submitter.into());
    let manifest = evidence.manifest.open(&current)?;
    manifest.validate()?;
    Ok(manifest)
}

fn included(evidence: &Evidence, report: &Report) -> Result<(), Doubt> {
    let leaf = merkle::leaf(&evidence.receipt);
    let (count, at) = (usize::try_from(report.count), usize::try_from(evidence.position));
    let holds = match (count, at) {
        (Ok(count), Ok(at)) => {
            merkle::verify_range(report.root, count, at, &[leaf], &evidence.proof)
        }
        _ => false,
    };
    if holds { Ok(()) } else { Err(Doubt::Inclusion { position: evidence.position }) }
}

/// What must be equal or within bounds, with what to say when it is not.
fn agree(evidence: &Evidence, parts: &Believed) -> Result<(), Doubt> {
    let Believed { manifest, lease, report, receipt } = parts;
    let named = manifest.coordinators.0.contains(&lease.coordinator);
    let delegated =
        manifest.delegates.0.iter().any(|delegate| delegate.key == lease.coordinator.into());
    let limits = &lease.limits;
    let longest = match receipt.outcome {
        Outcome::Paused => snapshot::max_len(limits),
        _ => limits.output,
    };
    let rules = [
        (
            receipt.lease == Lease::digest_of(evidence.lease.payload()),
            "the receipt is of another lease",
        ),
        (lease.covers(receipt.task), "the receipt's task is not one of the lease's"),
        (receipt.task.0 < manifest.inputs.count(), "the receipt's task is not one of the job's"),
        (lease.job == Manifest::id_of(evidence.manifest.payload()), "the lease is for another job"),
        (named || delegated, "the job does not name the lease's coordinator"),
        (lease.host == report.host, "the lease is for another host than the one that reports"),
        (lease.coordinator == report.coordinator, "the report is for another coordinator"),
        (lease.epoch == report.epoch, "the report is of another epoch than the lease"),
        (lease.network == manifest.network, "lease and manifest are of different networks"),
        (lease.network == report.network, "lease and report are of different networks"),
        (lease.payer == manifest.payer, "the lease names another payer than the manifest"),
        (lease.module == manifest.module, "the lease is for another module than the manifest's"),
        (receipt.module == manifest.module, "the receipt is of another module than the manifest's"),
        (lease.versions == manifest.versions, "lease and manifest name different versions"),
        (lease.limits == manifest.limits, "lease and manifest name different limits"),
        (lease.tariff == manifest.tariff, "lease and manifest name different tariffs"),
        (receipt.fuel <= limits.fuel, "the receipt's fuel is above the limit"),
        (receipt.peak_memory <= limits.memory, "the receipt's memory is above the limit"),
        (receipt.bytes_out <= longest, "the receipt's output is above the limit"),
        (
            receipt.segment.is_some() == manifest.steps.is_some(),
            "a receipt is about a segment where the job is in steps, and nowhere else",
        ),
        (
            receipt.segment.is_none_or(|segment| segment.fuel_after <= limits.fuel),
            "the fuel after the segment is above the limit",
        ),
    ];
    rules
        .into_iter()
        .find(|(holds, _)| !holds)
        .map_or(Ok(()), |(_, what)| Err(Doubt::Disagree(what)))
}

/// The input's digest and length must be those that the submitter signed for the task.
fn input(evidence: &Evidence, parts: &Believed) -> Result<(), Doubt> {
    let Believed { manifest, receipt, .. } = parts;
    let bound = match manifest.inputs {
        Inputs::Range { .. } => {
            let bytes = manifest.inputs.range_input(receipt.task.0).unwrap_or_default();
            Some((Digest::of(&bytes), bytes.len() as u64))
        }
        Inputs::Table { root, count, .. } => entry(evidence, receipt, root, count),
    };
    // A later segment has read its snapshot as well; how long that was is seen when it is run again.
    let later = receipt.segment.is_some_and(|segment| segment.index > 0);
    let fits = |length| if later { receipt.bytes_in >= length } else { receipt.bytes_in == length };
    if bound.is_some_and(|(digest, length)| digest == receipt.input && fits(length)) {
        return Ok(());
    }
    Err(Doubt::Input { task: receipt.task.0, found: receipt.input })
}

fn entry(
    evidence: &Evidence,
    receipt: &Receipt,
    root: Digest,
    count: u32,
) -> Option<(Digest, u64)> {
    let proof = evidence.entry.as_ref()?;
    let entry = proof.read()?;
    let (count, at) = (usize::try_from(count).ok()?, usize::try_from(receipt.task.0).ok()?);
    let holds = merkle::verify_range(root, count, at, &[merkle::leaf(&proof.entry)], &proof.proof);
    holds.then_some((entry.digest, entry.length))
}
