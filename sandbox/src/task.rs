//! What a run is given and what it gives back.

use std::sync::Arc;

use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Digest, Limits, Manifest, Outcome, TaskIndex};

/// Everything the tasks of one job share. A guest sees nothing else but its input and its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    /// What one task may use.
    pub limits: Limits,
    /// Seed of the guest's randomness.
    pub seed: [u8; 32],
    /// Arguments after `argv[0]`, which is always `task`.
    pub argv: Vec<String>,
    /// Environment, in the order the guest sees it.
    pub environment: Vec<(String, String)>,
    /// Named read-only files in the guest's root directory.
    pub files: Vec<InputFile>,
}

/// A named read-only file of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Plain name, without `/`.
    pub name: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

impl JobSpec {
    /// A job with these limits, and neither arguments nor environment nor files.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, seed: [0; 32], argv: Vec::new(), environment: Vec::new(), files: Vec::new() }
    }

    /// The job of a manifest; `files` holds the bytes of its files in the manifest's order.
    ///
    /// # Errors
    /// The name of the first file whose bytes are missing or are not those of its digest.
    pub fn from_manifest(manifest: &Manifest, files: &[Arc<[u8]>]) -> Result<Self, FileMismatch> {
        let named = manifest.files.0.iter().enumerate().map(|(at, file)| {
            let bytes = files.get(at).filter(|bytes| Digest::of(bytes) == file.blob);
            let bytes = bytes
                .ok_or_else(|| FileMismatch { name: file.name.0.clone(), expected: file.blob })?;
            Ok(InputFile { name: file.name.0.clone(), bytes: bytes.clone() })
        });
        Ok(Self {
            limits: manifest.limits,
            seed: manifest.seed,
            argv: manifest.argv.0.iter().map(|text| text.0.clone()).collect(),
            environment: manifest
                .environment
                .0
                .iter()
                .map(|(n, v)| (n.0.clone(), v.0.clone()))
                .collect(),
            files: named.collect::<Result<_, _>>()?,
        })
    }
}

/// A file of a manifest whose bytes are not at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bytes given for the file {name:?} are not those of digest {expected}")]
pub struct FileMismatch {
    /// The file's name.
    pub name: String,
    /// The digest the manifest names.
    pub expected: Digest,
}

/// One task to run.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    /// What it shares with the other tasks of its job.
    pub job: Arc<JobSpec>,
    /// Its position within the job: with the seed, the source of its randomness.
    pub index: TaskIndex,
    /// Standard input.
    pub input: Arc<[u8]>,
}

/// Most bytes of input, of all files together, or of output and log together.
pub const MAX_BYTES: u64 = 1 << 30;

impl JobSpec {
    /// Whether its limits and files stay within [`MAX_BYTES`].
    #[must_use]
    pub fn fits(&self) -> bool {
        let files: u64 = self.files.iter().map(|file| file.bytes.len() as u64).sum();
        files <= MAX_BYTES && self.limits.output.saturating_add(self.limits.log) <= MAX_BYTES
    }
}

/// Bytes of a table's entry in the engine.
const ENTRY: u64 = 16;

impl TaskSpec {
    /// Writable memory that a process needs at most for running it, besides what it has for its module: what the guest may have,
    /// and its streams and files with their copies on the way.
    pub(crate) fn memory(&self) -> u64 {
        let limits = &self.job.limits;
        let files: u64 = self.job.files.iter().map(|file| file.bytes.len() as u64).sum();
        let parts = [
            (limits.memory, 1),
            (limits.table, ENTRY),
            (limits.scratch, 2),
            (limits.output.saturating_add(limits.log), 6),
            (files.saturating_add(self.input.len() as u64), 4),
        ];
        parts
            .into_iter()
            .fold(0, |sum, (bytes, times)| sum.saturating_add(bytes.saturating_mul(times)))
    }

    /// Whether job and input stay within [`MAX_BYTES`].
    #[must_use]
    pub fn fits(&self) -> bool {
        self.input.len() as u64 <= MAX_BYTES && self.job.fits()
    }
}

/// What a run came to. Everything but `cpu_time_us` is deterministic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskResult {
    /// How it ended.
    pub outcome: Outcome,
    /// Standard output.
    pub output: Vec<u8>,
    /// Standard error, cut at its limit.
    pub log: Vec<u8>,
    /// Fuel used.
    pub fuel: u64,
    /// Highest size of linear memory, bytes.
    pub peak_memory: u64,
    /// Pages of 64 KiB × fuel, summed.
    pub memory_fuel: u64,
    /// Bytes of standard input.
    pub bytes_in: u64,
    /// Bytes of standard output.
    pub bytes_out: u64,
    /// Thread CPU time, µs (advisory).
    pub cpu_time_us: u64,
}

impl TaskResult {
    /// The result of a task that ended before anything of the guest ran.
    pub(crate) const fn without_running(outcome: Outcome, bytes_in: usize) -> Self {
        Self {
            outcome,
            output: Vec::new(),
            log: Vec::new(),
            fuel: 0,
            peak_memory: 0,
            memory_fuel: 0,
            bytes_in: bytes_in as u64,
            bytes_out: 0,
            cpu_time_us: 0,
        }
    }
}

/// A run that ended for a reason that is not the guest's: no receipt, no vote, no pay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", cause.phrase())]
pub struct Void {
    /// Why.
    pub cause: VoidCause,
    /// More, for people.
    pub detail: String,
}

impl Void {
    /// A void run with this cause.
    #[must_use]
    pub fn new(cause: VoidCause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }
}
