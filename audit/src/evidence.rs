//! The file that lets a stranger judge one receipt.

use serde::{Deserialize, Serialize};
use tallymill_protocol::{
    DecodeError, Digest, Inputs, KeyChain, Lease, Manifest, Message as _, Receipt, Report, Signed,
    TableEntry,
};

use crate::encoding;

/// What the field `kind` of an evidence file says.
const KIND: &str = "tallymill-evidence";
/// The version of the file format this crate writes and reads.
const VERSION: u32 = 1;
/// Longest evidence file, bytes: a manifest, a lease, a report, a receipt and a chain of keys at their
/// longest, in base64, and two proofs.
const MAX_FILE: usize = 1 << 20;

/// Everything needed to judge one receipt but the bytes of module, files and input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    kind: String,
    version: u32,
    /// The job, signed by its submitter.
    #[serde(with = "encoding::signed")]
    pub manifest: Signed<Manifest>,
    /// The lease, signed by the coordinator.
    #[serde(with = "encoding::signed")]
    pub lease: Signed<Lease>,
    /// The report, signed by the host.
    #[serde(with = "encoding::signed")]
    pub report: Signed<Report>,
    /// The receipt, encoded as it stands under the report's root.
    #[serde(with = "encoding::bytes")]
    pub receipt: Vec<u8>,
    /// The receipt's position in the report, from 0.
    pub position: u32,
    /// The range proof of that one receipt.
    #[serde(with = "encoding::digests")]
    pub proof: Vec<Digest>,
    /// For table jobs: the task's entry, with its proof.
    pub entry: Option<TableProof>,
    /// For a segment of a long task: the snapshot it began from. It is believed when its bytes have the state root that
    /// the receipt names.
    #[serde(with = "encoding::maybe", default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Digest>,
    /// Where the manifest is signed by a later key than the submitter's first: the statements that lead to that key.
    #[serde(with = "encoding::chain", default, skip_serializing_if = "is_empty")]
    pub keys: KeyChain,
}

fn is_empty(chain: &KeyChain) -> bool {
    *chain == KeyChain::default()
}

/// An entry of an input table and its way to the table's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableProof {
    /// The 48 bytes of the entry.
    #[serde(with = "encoding::bytes")]
    pub entry: Vec<u8>,
    /// The range proof of that one entry.
    #[serde(with = "encoding::digests")]
    pub proof: Vec<Digest>,
}

impl TableProof {
    /// The entry, when it has the right length.
    #[must_use]
    pub fn read(&self) -> Option<TableEntry> {
        self.entry.as_slice().try_into().ok().map(TableEntry::from_bytes)
    }
}

/// The blobs that re-execution needs, by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blobs {
    /// The module as submitted.
    pub module: Digest,
    /// The task's input; `None` when it follows from the manifest.
    pub input: Option<Digest>,
    /// The snapshot that a segment began from.
    pub snapshot: Option<Digest>,
    /// Names and digests of the job's files, in the manifest's order.
    pub files: Vec<(String, Digest)>,
}

/// Why some bytes are no evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// It is longer than any evidence is.
    #[error("the file has {found} bytes, at most {limit}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The longest that is read.
        limit: usize,
    },
    /// Not the JSON of an evidence file.
    #[error("not an evidence file: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind of file, or another version.
    #[error(
        "the file is {kind:?} version {version}; this is read as {expected:?} version {VERSION}"
    )]
    Kind {
        /// What it says it is.
        kind: String,
        /// Its version.
        version: u32,
        /// What it is read as.
        expected: &'static str,
    },
    /// A part that is not what it should be.
    #[error("a part of the evidence does not decode: {0}")]
    Decode(#[from] DecodeError),
}

impl Evidence {
    /// Evidence about the receipt at `position` of a report whose receipts have these encodings; `None` when there is none there.
    #[must_use]
    pub fn of_report(
        signed: (Signed<Manifest>, Signed<Lease>, Signed<Report>),
        receipts: &[Vec<u8>],
        position: u32,
        entry: Option<TableProof>,
    ) -> Option<Self> {
        let at = usize::try_from(position).ok()?;
        let receipt = receipts.get(at)?.clone();
        let leaves: Vec<Digest> =
            receipts.iter().map(|bytes| tallymill_protocol::merkle::leaf(bytes)).collect();
        let proof = tallymill_protocol::merkle::range_proof(&leaves, at, at + 1);
        let (manifest, lease, report) = signed;
        Some(Self {
            kind: KIND.into(),
            version: VERSION,
            manifest,
            lease,
            report,
            receipt,
            position,
            proof,
            entry,
            snapshot: None,
            keys: KeyChain::default(),
        })
    }

    /// Evidence from parts that are at hand one by one.
    #[must_use]
    pub fn of_parts(
        signed: (Signed<Manifest>, Signed<Lease>, Signed<Report>),
        receipt: Vec<u8>,
        (position, proof): (u32, Vec<Digest>),
        entry: Option<TableProof>,
    ) -> Self {
        let (manifest, lease, report) = signed;
        Self {
            kind: KIND.into(),
            version: VERSION,
            manifest,
            lease,
            report,
            receipt,
            position,
            proof,
            entry,
            snapshot: None,
            keys: KeyChain::default(),
        }
    }

    /// The same about a segment that began from this snapshot.
    #[must_use]
    pub const fn from_snapshot(mut self, snapshot: Option<Digest>) -> Self {
        self.snapshot = snapshot;
        self
    }

    /// The same about a job whose submitter had these keys up to the one that signed its manifest.
    #[must_use]
    pub fn with_keys(mut self, keys: KeyChain) -> Self {
        self.keys = keys;
        self
    }

    /// Reads an evidence file.
    ///
    /// # Errors
    /// When it is too long, not JSON of this form, or of another version.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_FILE {
            return Err(EvidenceError::TooLong { found: bytes.len(), limit: MAX_FILE });
        }
        let evidence: Self = serde_json::from_slice(bytes)?;
        if (evidence.kind.as_str(), evidence.version) != (KIND, VERSION) {
            return Err(EvidenceError::Kind {
                kind: evidence.kind,
                version: evidence.version,
                expected: KIND,
            });
        }
        Ok(evidence)
    }

    /// The file's text.
    ///
    /// # Errors
    /// Never for values that can be built; the JSON writer's signature allows it.
    pub fn to_json(&self) -> Result<String, EvidenceError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// The receipt, not yet believed.
    ///
    /// # Errors
    /// When it does not decode.
    pub fn receipt(&self) -> Result<Receipt, EvidenceError> {
        Ok(Receipt::from_bytes(&self.receipt)?)
    }

    /// The blobs that re-execution needs.
    ///
    /// # Errors
    /// When manifest or receipt do not decode.
    pub fn blobs(&self) -> Result<Blobs, EvidenceError> {
        let manifest = self.manifest.peek()?;
        let input = match manifest.inputs {
            Inputs::Range { .. } => None,
            Inputs::Table { .. } => Some(self.receipt()?.input),
        };
        let files = manifest.files.0.iter().map(|file| (file.name.0.clone(), file.blob)).collect();
        Ok(Blobs { module: manifest.module, input, snapshot: self.snapshot, files })
    }
}
