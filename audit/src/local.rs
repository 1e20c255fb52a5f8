//! Receipts of runs without a network: `tallymill run --receipt FILE`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tallymill_protocol::{
    Digest, LeaseDigest, Limits, Micros, Outcome, Receipt, TaskIndex, Versions,
};
use tallymill_sandbox::{
    ENGINE_NAME, InputFile, JobSpec, Prepared, TaskResult, TaskSpec, versions,
};

use crate::encoding;
use crate::evidence::EvidenceError;
use crate::execute::{Executor, Task, VerifyError, differs};

/// What the field `kind` of a local receipt says.
const KIND: &str = "tallymill-local-receipt";
/// The version of the file format this crate writes and reads.
const VERSION: u32 = 1;
/// Longest local receipt, bytes: arguments and environment at their longest, escaped.
const MAX_FILE: usize = 4 << 20;

/// What one run on this machine used and produced, with all that is needed to run it again but the bytes of module, input and
/// files. Nobody signs it: it is believed because it can be run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalReceipt {
    kind: String,
    version: u32,
    /// The module as given.
    #[serde(with = "encoding::text")]
    pub module: Digest,
    /// The module as metered.
    #[serde(with = "encoding::text")]
    pub metered: Digest,
    /// Meter, cost table and profile.
    pub versions: LocalVersions,
    /// What the run was allowed to use.
    pub limits: LocalLimits,
    /// Seed of the guest's randomness.
    #[serde(with = "encoding::text")]
    pub seed: Digest,
    /// The task's position, which randomness depends on too.
    pub task: u32,
    /// Arguments after `argv[0]`.
    pub argv: Vec<String>,
    /// Environment.
    pub environment: Vec<(String, String)>,
    /// Named read-only files.
    pub files: Vec<LocalFile>,
    /// Digest of standard input.
    #[serde(with = "encoding::text")]
    pub input: Digest,
    /// Digest of standard output.
    #[serde(with = "encoding::text")]
    pub output: Digest,
    /// Digest of standard error, after cutting.
    #[serde(with = "encoding::text")]
    pub log: Digest,
    /// How it ended.
    pub outcome: LocalOutcome,
    /// Fuel used.
    #[serde(with = "encoding::text")]
    pub fuel: u64,
    /// Highest size of linear memory, bytes.
    #[serde(with = "encoding::text")]
    pub peak_memory: u64,
    /// Pages of 64 KiB × fuel, summed.
    #[serde(with = "encoding::text")]
    pub memory_fuel: u64,
    /// Bytes of standard input.
    #[serde(with = "encoding::text")]
    pub bytes_in: u64,
    /// Bytes of standard output.
    #[serde(with = "encoding::text")]
    pub bytes_out: u64,
    /// Engine and version (advisory).
    pub engine: String,
    /// Thread CPU time, µs (advisory).
    #[serde(with = "encoding::text")]
    pub cpu_time_us: u64,
}

/// Meter, cost table and profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalVersions {
    /// Meter version.
    pub meter: u32,
    /// Digest of the cost table.
    #[serde(with = "encoding::text")]
    pub costs: Digest,
    /// Version of the deterministic profile.
    pub profile: u32,
}

/// What a run may use: the fields of a manifest's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalLimits {
    /// Fuel.
    #[serde(with = "encoding::text")]
    pub fuel: u64,
    /// Linear memory, bytes.
    #[serde(with = "encoding::text")]
    pub memory: u64,
    /// Standard output, bytes.
    #[serde(with = "encoding::text")]
    pub output: u64,
    /// Standard error, bytes.
    #[serde(with = "encoding::text")]
    pub log: u64,
    /// Guest stack, bytes as the meter counts them.
    #[serde(with = "encoding::text")]
    pub stack: u64,
    /// Table entries.
    #[serde(with = "encoding::text")]
    pub table: u64,
    /// In-memory directory, bytes.
    #[serde(with = "encoding::text")]
    pub scratch: u64,
}

/// A named read-only file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalFile {
    /// Its name in the guest's root directory.
    pub name: String,
    /// Its bytes' digest.
    #[serde(with = "encoding::text")]
    pub digest: Digest,
}

/// How a run ended: kind and code as `docs/protocol/formats.md` numbers them, and in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalOutcome {
    /// Kind.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// In words, for people.
    pub text: String,
}

impl From<Versions> for LocalVersions {
    fn from(versions: Versions) -> Self {
        Self { meter: versions.meter, costs: versions.costs, profile: versions.profile }
    }
}

impl From<Limits> for LocalLimits {
    fn from(limits: Limits) -> Self {
        let Limits { fuel, memory, output, log, stack, table, scratch } = limits;
        Self { fuel, memory, output, log, stack, table, scratch }
    }
}

impl From<LocalLimits> for Limits {
    fn from(limits: LocalLimits) -> Self {
        let LocalLimits { fuel, memory, output, log, stack, table, scratch } = limits;
        Self { fuel, memory, output, log, stack, table, scratch }
    }
}

impl From<Outcome> for LocalOutcome {
    fn from(outcome: Outcome) -> Self {
        let (kind, code) = outcome.parts();
        Self { kind, code, text: outcome.to_string() }
    }
}

impl LocalReceipt {
    /// The receipt of a run.
    #[must_use]
    pub fn new(prepared: &Prepared, task: &TaskSpec, result: &TaskResult) -> Self {
        let job = &task.job;
        let file = |file: &InputFile| LocalFile {
            name: file.name.clone(),
            digest: Digest::of(&file.bytes),
        };
        Self {
            kind: KIND.into(),
            version: VERSION,
            module: prepared.original,
            metered: prepared.metered,
            versions: versions().into(),
            limits: job.limits.into(),
            seed: Digest(job.seed),
            task: task.index.0,
            argv: job.argv.clone(),
            environment: job.environment.clone(),
            files: job.files.iter().map(file).collect(),
            input: Digest::of(&task.input),
            output: Digest::of(&result.output),
            log: Digest::of(&result.log),
            outcome: result.outcome.into(),
            fuel: result.fuel,
            peak_memory: result.peak_memory,
            memory_fuel: result.memory_fuel,
            bytes_in: result.bytes_in,
            bytes_out: result.bytes_out,
            engine: ENGINE_NAME.into(),
            cpu_time_us: result.cpu_time_us,
        }
    }

    /// Reads a local receipt.
    ///
    /// # Errors
    /// When it is too long, not JSON of this form, or of another version.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_FILE {
            return Err(EvidenceError::TooLong { found: bytes.len(), limit: MAX_FILE });
        }
        let receipt: Self = serde_json::from_slice(bytes)?;
        if (receipt.kind.as_str(), receipt.version) != (KIND, VERSION) {
            return Err(EvidenceError::Kind {
                kind: receipt.kind,
                version: receipt.version,
                expected: KIND,
            });
        }
        Ok(receipt)
    }

    /// The file's text.
    ///
    /// # Errors
    /// Never for values that can be built; the JSON writer's signature allows it.
    pub fn to_json(&self) -> Result<String, EvidenceError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Runs it again; `files` holds the bytes of its files in their order.
    ///
    /// # Errors
    /// The first thing that differs, or why nothing can be said.
    pub fn verify(
        &self,
        executor: &Executor<'_>,
        module: &[u8],
        input: Arc<[u8]>,
        files: &[Arc<[u8]>],
    ) -> Result<(), VerifyError> {
        differs("number of files", self.files.len(), files.len())?;
        for (file, bytes) in self.files.iter().zip(files) {
            differs("file", file.digest, Digest::of(bytes))?;
        }
        let files = self.files.iter().zip(files);
        let files =
            files.map(|(file, bytes)| InputFile { name: file.name.clone(), bytes: bytes.clone() });
        let job = JobSpec {
            limits: self.limits.into(),
            seed: self.seed.0,
            argv: self.argv.clone(),
            environment: self.environment.clone(),
            files: files.collect(),
        };
        let LocalVersions { meter, costs, profile } = self.versions;
        let versions = Versions { meter, costs, profile };
        executor.verify(&self.as_receipt()?, &Task { module, job: Arc::new(job), versions, input })
    }

    /// The same in the form of a receipt under no lease.
    fn as_receipt(&self) -> Result<Receipt, VerifyError> {
        let LocalOutcome { kind, code, .. } = self.outcome;
        let outcome = Outcome::from_parts(kind, code).ok_or(VerifyError::Outcome { kind, code })?;
        Ok(Receipt {
            format: 1,
            lease: LeaseDigest([0; 32]),
            task: TaskIndex(self.task),
            input: self.input,
            output: self.output,
            outcome,
            fuel: self.fuel,
            peak_memory: self.peak_memory,
            memory_fuel: self.memory_fuel,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            module: self.module,
            metered: self.metered,
            log: self.log,
            segment: None,
            engine: tallymill_protocol::cbor::Text(self.engine.clone()),
            cpu_time: self.cpu_time_us,
            started: Micros(0),
            finished: Micros(0),
            salt: [0; 32],
        })
    }
}
