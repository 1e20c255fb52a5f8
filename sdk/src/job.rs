//! A job before it is submitted: module, inputs, limits, policy, price.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tallymill_protocol::cbor::{List, Text};
use tallymill_protocol::{
    AccountId, CoordinatorId, Digest, File, Inputs, Interface, Limits, MAX_TASKS, Manifest, Micros,
    Network, Nonce, Policy, Requirements, Steps, TableEntry, Tariff, Versions, Visibility, merkle,
};

use crate::Error;
use crate::model::decimal;

/// Largest input of one task in a table, bytes.
const MAX_INPUT: usize = 64 << 20;

#[derive(Debug, Clone)]
enum Source {
    Range { from: u64, count: u32 },
    Table { root: Digest, count: u32, blob: Arc<Vec<u8>>, largest: u64 },
}

/// What a coordinator answers to "what would this cost?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The most the job can cost, micro-credits.
    #[serde(with = "decimal")]
    pub cap: i64,
    /// The most one task can cost, micro-credits.
    #[serde(with = "decimal")]
    pub per_task: i64,
    /// What the submitter should know before running it.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A job under construction.
///
/// ```
/// use tallymill_sdk::Job;
/// let job = Job::new(b"\0asm\x01\0\0\0".to_vec()).title("demo").inputs([b"one".to_vec(), b"two".to_vec()])?;
/// assert_eq!(job.tasks(), 2);
/// # Ok::<(), tallymill_sdk::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Job {
    module: Arc<Vec<u8>>,
    source: Source,
    title: String,
    limits: Limits,
    seed: [u8; 32],
    argv: Vec<String>,
    environment: Vec<(String, String)>,
    files: Vec<(String, Arc<Vec<u8>>)>,
    policy: Policy,
    tariff: Tariff,
    budget: Option<u64>,
    lifetime: u64,
    priority: u8,
    tags: Vec<String>,
    visibility: Visibility,
    steps: Option<Steps>,
}

/// What a manifest needs besides the job itself.
pub(crate) struct Setting {
    pub network: Network,
    pub coordinator: CoordinatorId,
    pub account: AccountId,
    pub versions: Versions,
    pub nonce: Nonce,
    pub now: Micros,
}

impl Job {
    /// A job that runs `module` once, on the input "0"; `trusted`, base tariff, one day.
    #[must_use]
    pub fn new(module: Vec<u8>) -> Self {
        Self {
            module: Arc::new(module),
            source: Source::Range { from: 0, count: 1 },
            title: String::new(),
            limits: Limits::default(),
            seed: [0; 32],
            argv: Vec::new(),
            environment: Vec::new(),
            files: Vec::new(),
            policy: Policy::Trusted,
            tariff: Tariff::default(),
            budget: None,
            lifetime: Micros::DAY,
            priority: 5,
            tags: Vec::new(),
            visibility: Visibility::Public,
            steps: None,
        }
    }

    /// The module exports `init` and `step` instead of `_start`: each step is told to use about `budget` fuel, and after
    /// `segment` fuel, at least 2²², the task's state is kept, so that another machine can go on from there.
    ///
    /// ```
    /// # use tallymill_sdk::Job;
    /// let job = Job::new(b"\0asm\x01\0\0\0".to_vec()).range(0, 4).steps(10_000_000, 60_000_000_000);
    /// # assert_eq!(job.tasks(), 4);
    /// ```
    #[must_use]
    pub const fn steps(mut self, budget: u64, segment: u64) -> Self {
        self.steps = Some(Steps { budget, segment });
        self
    }

    /// One task per number from `from` on; each reads its number and a line feed.
    #[must_use]
    pub fn range(mut self, from: u64, count: u32) -> Self {
        self.source = Source::Range { from, count };
        self
    }

    /// One task per input.
    ///
    /// # Errors
    /// When there is no input, more than 16,777,216, or one of more than 64 MiB.
    pub fn inputs<I: AsRef<[u8]>>(
        mut self,
        inputs: impl IntoIterator<Item = I>,
    ) -> Result<Self, Error> {
        let inputs: Vec<I> = inputs.into_iter().collect();
        let count = u32::try_from(inputs.len()).ok().filter(|n| (1..=MAX_TASKS).contains(n));
        let count = count.ok_or_else(|| {
            Error::Inputs(format!("1 to {MAX_TASKS} are allowed, not {}", inputs.len()))
        })?;
        if let Some(i) = inputs.iter().position(|input| input.as_ref().len() > MAX_INPUT) {
            return Err(Error::Inputs(format!(
                "input {i} has more than {MAX_INPUT} bytes; pass it as a file instead"
            )));
        }
        let largest = inputs.iter().map(|input| input.as_ref().len() as u64).max().unwrap_or(0);
        let (root, blob) = table(&inputs);
        self.source = Source::Table { root, count, blob: Arc::new(blob), largest };
        Ok(self)
    }

    /// A name for people, at most 128 bytes.
    #[must_use]
    pub fn title(mut self, title: &str) -> Self {
        title.clone_into(&mut self.title);
        self
    }

    /// What one task may use.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How results are believed.
    #[must_use]
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Believes a result when `n` hosts of different owners agree.
    #[must_use]
    pub const fn quorum(self, n: u8) -> Self {
        self.policy(Policy::Quorum { n })
    }

    /// What is paid.
    #[must_use]
    pub const fn tariff(mut self, tariff: Tariff) -> Self {
        self.tariff = tariff;
        self
    }

    /// The most it may ever cost, micro-credits; without this, the cap of the quote.
    #[must_use]
    pub const fn budget(mut self, budget: u64) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Stops tasks that are not decided this many microseconds after submission.
    #[must_use]
    pub const fn lifetime(mut self, micros: u64) -> Self {
        self.lifetime = micros;
        self
    }

    /// 0 to 9 among the payer's own jobs, 9 first.
    #[must_use]
    pub const fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Seed of the guest's randomness.
    #[must_use]
    pub const fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = seed;
        self
    }

    /// Adds an argument after argv[0].
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.argv.push(arg.to_owned());
        self
    }

    /// Sets a variable of the guest's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self.environment.sort();
        self
    }

    /// Adds a named read-only file that every task can open.
    #[must_use]
    pub fn file(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.files.retain(|(known, _)| known != name);
        self.files.push((name.to_owned(), Arc::new(bytes)));
        self.files.sort();
        self
    }

    /// Adds a tag that hosts may accept or refuse.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self.tags.sort();
        self.tags.dedup();
        self
    }

    /// Shows inputs and outputs to the payer and to hosts at work only.
    #[must_use]
    pub const fn private(mut self) -> Self {
        self.visibility = Visibility::Private;
        self
    }

    /// Number of tasks.
    #[must_use]
    pub const fn tasks(&self) -> u32 {
        match &self.source {
            Source::Range { count, .. } | Source::Table { count, .. } => *count,
        }
    }

    /// Length of the longest input, bytes.
    #[must_use]
    pub const fn largest_input(&self) -> u64 {
        match &self.source {
            Source::Range { .. } => range_input_bytes(),
            Source::Table { largest, .. } => *largest,
        }
    }

    /// The blobs that must be at the coordinator before the manifest.
    pub(crate) fn blobs(&self) -> Vec<Arc<Vec<u8>>> {
        let table = match &self.source {
            Source::Range { .. } => None,
            Source::Table { blob, .. } => Some(Arc::clone(blob)),
        };
        std::iter::once(Arc::clone(&self.module))
            .chain(table)
            .chain(self.files.iter().map(|(_, bytes)| Arc::clone(bytes)))
            .collect()
    }

    /// The manifest of this job in `setting`, with budget `budget` unless the job names its own.
    pub(crate) fn manifest(&self, setting: Setting, budget: u64) -> Result<Manifest, Error> {
        let manifest = Manifest {
            format: 1,
            network: setting.network,
            coordinators: List(vec![setting.coordinator]),
            delegates: List(vec![]),
            nonce: setting.nonce,
            payer: setting.account,
            submitter: setting.account,
            module: Digest::of(&self.module),
            versions: setting.versions,
            inputs: self.manifest_inputs(),
            limits: self.limits,
            seed: self.seed,
            argv: List(self.argv.iter().map(text_of).collect()),
            environment: List(
                self.environment.iter().map(|(n, v)| (text_of(n), text_of(v))).collect(),
            ),
            files: List(self.files.iter().map(file_of).collect()),
            policy: self.policy,
            tariff: self.tariff,
            budget: self.budget.unwrap_or(budget),
            deadline: setting.now.plus(self.lifetime),
            priority: self.priority,
            tags: List(self.tags.iter().map(text_of).collect()),
            visibility: self.visibility,
            requirements: Requirements::default(),
            title: text_of(&self.title),
            interface: if self.steps.is_some() { Interface::Step } else { Interface::Command },
            steps: self.steps,
        };
        manifest.validate()?;
        Ok(manifest)
    }

    fn manifest_inputs(&self) -> Inputs {
        match &self.source {
            Source::Range { from, count } => Inputs::Range { from: *from, count: *count },
            Source::Table { root, count, blob, .. } => {
                Inputs::Table { root: *root, count: *count, blob: Digest::of(blob) }
            }
        }
    }
}

/// Longest input of a range job: 20 digits and a line feed.
const fn range_input_bytes() -> u64 {
    21
}

fn text_of<const MAX: usize>(s: impl Into<String>) -> Text<MAX> {
    Text(s.into())
}

fn file_of((name, bytes): &(String, Arc<Vec<u8>>)) -> File {
    File { name: Text(name.clone()), blob: Digest::of(bytes), length: bytes.len() as u64 }
}

/// The table of `inputs`, as formats.md lays it out, and the Merkle root over its entries.
fn table<I: AsRef<[u8]>>(inputs: &[I]) -> (Digest, Vec<u8>) {
    let mut offset = (inputs.len() * TableEntry::SIZE) as u64;
    let entries: Vec<[u8; TableEntry::SIZE]> = inputs
        .iter()
        .map(|input| {
            let length = input.as_ref().len() as u64;
            let entry = TableEntry { offset, length, digest: Digest::of(input.as_ref()) };
            offset += length;
            entry.to_bytes()
        })
        .collect();
    let leaves: Vec<Digest> = entries.iter().map(|entry| merkle::leaf(entry)).collect();
    let mut blob = entries.concat();
    inputs.iter().for_each(|input| blob.extend_from_slice(input.as_ref()));
    (merkle::root(&leaves), blob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_names_every_input_by_offset_and_digest() {
        let (root, blob) = table(&[&b"one"[..], b"", b"three"]);
        let entry = |i: usize| TableEntry::from_bytes(blob[i * 48..][..48].try_into().unwrap());
        let read = |i| {
            blob[usize::try_from(entry(i).offset).unwrap()..]
                [..usize::try_from(entry(i).length).unwrap()]
                .to_vec()
        };
        assert_eq!((read(0), read(1), read(2)), (b"one".to_vec(), vec![], b"three".to_vec()));
        assert!((0..3).all(|i| Digest::of(&read(i)) == entry(i).digest));
        let leaves: Vec<Digest> = (0..3).map(|i| merkle::leaf(&blob[i * 48..][..48])).collect();
        assert_eq!(root, merkle::root(&leaves));
    }

    #[test]
    fn a_job_with_steps_says_so_in_its_manifest_and_a_wrong_segment_is_named() {
        let setting = || Setting {
            network: Network::new("test").unwrap(),
            coordinator: CoordinatorId([1; 32]),
            account: AccountId([2; 32]),
            versions: Versions { meter: 1, costs: Digest::ZERO, profile: 1 },
            nonce: Nonce([0; 16]),
            now: Micros(0),
        };
        let manifest = |job: Job| job.manifest(setting(), 1);
        let plain = manifest(Job::new(vec![])).unwrap();
        assert_eq!((plain.interface, plain.steps), (Interface::Command, None));
        let long = manifest(Job::new(vec![]).steps(5, 1 << 22)).unwrap();
        let steps = Some(Steps { budget: 5, segment: 1 << 22 });
        assert_eq!((long.interface, long.steps), (Interface::Step, steps));
        let error = manifest(Job::new(vec![]).steps(5, 1)).unwrap_err().to_string();
        assert!(error.contains("steps.segment"), "{error}");
    }

    #[test]
    fn no_inputs_is_an_error() {
        assert!(Job::new(vec![]).inputs(Vec::<Vec<u8>>::new()).is_err());
    }
}
