//! What a person submits: the manifest and its parts.

use crate::cbor::{DecodeError, Decoder, Encoder, Field, List, Message, Text, record};
use crate::id::{AccountId, CoordinatorId, Digest, JobId, Key, Micros, Network, Nonce};
use crate::inputs::Inputs;
use crate::steps::{MIN_SEGMENT, Steps};

/// Version of the deterministic profile (host functions, clocks, randomness, directory order) of this crate's time.
pub const PROFILE_VERSION: u32 = 1;
/// Most tasks a job may have.
pub const MAX_TASKS: u32 = 1 << 24;
/// Highest fuel limit of a task: charges saturate below it.
pub const MAX_FUEL: u64 = 1 << 62;

record! {
    /// Everything that a count of fuel depends on besides module and input.
    #[derive(Copy, Hash)]
    pub struct Versions("versions", 64) {
        /// Meter version.
        0 => meter: u32,
        /// Digest of the cost table.
        1 => costs: Digest,
        /// Version of the deterministic profile.
        2 => profile: u32,
    }
}

record! {
    /// What one task may use. Everything a guest can observe comes from here, never from the host.
    #[derive(Copy, Hash)]
    pub struct Limits("limits", 96) {
        /// Fuel, at most [`MAX_FUEL`].
        0 => fuel: u64,
        /// Linear memory, bytes, at most 4 GiB.
        1 => memory: u64,
        /// Standard output, bytes.
        2 => output: u64,
        /// Standard error, bytes; what is beyond is cut.
        3 => log: u64,
        /// Guest stack, bytes as the meter counts them.
        4 => stack: u64,
        /// Table entries.
        5 => table: u64,
        /// In-memory directory, bytes.
        6 => scratch: u64,
    }
}

impl Default for Limits {
    /// 256 MiB of memory, 64 MiB of output, 1 MiB of log and stack, 10,000 table entries, 64 MiB of files, 10¹³ fuel.
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            fuel: 10_000_000_000_000,
            memory: 256 * MIB,
            output: 64 * MIB,
            log: MIB,
            stack: MIB,
            table: 10_000,
            scratch: 64 * MIB,
        }
    }
}

record! {
    /// Prices, in micro-credits.
    #[derive(Copy, Hash)]
    pub struct Tariff("tariff", 96) {
        /// Per 10⁹ units of fuel.
        0 => fuel: u64,
        /// Per MiB of input.
        1 => input: u64,
        /// Per MiB of output.
        2 => output: u64,
        /// Per GiB and day of output storage.
        3 => storage: u64,
        /// Per GiB of memory over 10⁹ units of fuel.
        4 => memory: u64,
        /// Per task.
        5 => task: u64,
        /// For compiling the module, once per job and host.
        6 => compile: u64,
    }
}

impl Default for Tariff {
    /// The base tariff: 1 credit per 10⁹ fuel, nothing else.
    fn default() -> Self {
        Self { fuel: 1_000_000, input: 0, output: 0, storage: 0, memory: 0, task: 0, compile: 0 }
    }
}

record! {
    /// A coordinator that may lease the job when those before it are gone.
    #[derive(Copy, Hash)]
    pub struct Delegate("delegate", 96) {
        /// Its key.
        0 => key: Key,
        /// Its place in the order, 0 first.
        1 => rank: u32,
        /// Its share of the budget, parts per million.
        2 => share: u32,
        /// When its mandate ends.
        3 => expiry: Micros,
    }
}

record! {
    /// A named read-only file that every task of the job can open.
    #[derive(Hash)]
    pub struct File("file", 512) {
        /// Name within the guest's root directory; no '/'.
        0 => name: Text<255>,
        /// Its bytes' digest.
        1 => blob: Digest,
        /// Its length, bytes.
        2 => length: u64,
    }
}

/// How results are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Own machines: one execution, believed.
    Trusted,
    /// `n` hosts of different owners must agree.
    Quorum {
        /// Agreeing results needed, 2 to 7.
        n: u8,
    },
    /// One execution, some of them re-executed after commitment.
    Audit {
        /// Target share of wrong results that become final, per 10⁹.
        target: u32,
        /// Surcharge that pays the audits, parts per million.
        surcharge: u32,
    },
    /// The module exports a verifier.
    SelfCheck {
        /// Surcharge that pays the checks, parts per million.
        surcharge: u32,
    },
}

impl Policy {
    /// Results that must agree before a task is decided.
    #[must_use]
    pub const fn replicas(&self) -> u8 {
        match self {
            Self::Quorum { n } => *n,
            _ => 1,
        }
    }

    fn parts(self) -> (u64, [Option<u32>; 2]) {
        match self {
            Self::Trusted => (0, [None, None]),
            Self::Quorum { n } => (1, [Some(u32::from(n)), None]),
            Self::Audit { target, surcharge } => (2, [Some(target), Some(surcharge)]),
            Self::SelfCheck { surcharge } => (3, [Some(surcharge), None]),
        }
    }
}

impl Field for Policy {
    fn encode(&self, e: &mut Encoder) {
        let (kind, values) = self.parts();
        e.map(1 + values.iter().flatten().count());
        e.uint(0);
        e.uint(kind);
        for (key, value) in (1..).zip(values.iter().flatten()) {
            e.uint(key);
            value.encode(e);
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (mut kind, mut first, mut second) = (None, None, None);
        d.map("policy", |key, d| {
            match key {
                0 => kind = Some(d.uint()?),
                1 => first = Some(u32::decode(d)?),
                2 => second = Some(u32::decode(d)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        match (kind, first, second) {
            (Some(0), None, None) => Ok(Self::Trusted),
            (Some(1), Some(n @ 2..=7), None) => {
                Ok(Self::Quorum { n: u8::try_from(n).unwrap_or(7) })
            }
            (Some(2), Some(target), Some(surcharge)) => Ok(Self::Audit { target, surcharge }),
            (Some(3), Some(surcharge), None) => Ok(Self::SelfCheck { surcharge }),
            _ => Err(d.invalid("policy: unknown kind, or not the parameters of its kind")),
        }
    }
}

macro_rules! two_valued {
    ($(#[$doc:meta])* $name:ident { $(#[$zdoc:meta])* $zero:ident, $(#[$odoc:meta])* $one:ident }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum $name {
            $(#[$zdoc])* #[default] $zero,
            $(#[$odoc])* $one,
        }

        impl Field for $name {
            fn encode(&self, e: &mut Encoder) {
                e.uint(u64::from(*self == Self::$one));
            }

            fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                match d.uint()? {
                    0 => Ok(Self::$zero),
                    1 => Ok(Self::$one),
                    _ => Err(d.invalid(concat!(stringify!($name), ": 0 or 1"))),
                }
            }
        }
    };
}
two_valued!(
    /// Who may read inputs and outputs.
    Visibility {
        /// Anyone, once the task is decided; strangers can re-execute it.
        Public,
        /// The payer, and hosts while they hold a lease or an audit.
        Private
    }
);
two_valued!(
    /// How the host drives the module.
    Interface {
        /// A WASI command: `_start` reads stdin and writes stdout.
        Command,
        /// `init` and `step(budget)`, with a snapshot between steps.
        Step
    }
);

record! {
    /// What a host must offer to be given the job.
    #[derive(Hash, Default)]
    pub struct Requirements("requirements", 2048) {
        /// Features by name, sorted and unique.
        0 => features: List<Text<64>, 16>,
    }
}

/// One variable of the guest's environment.
pub type Variable = (Text<4096>, Text<4096>);

impl Field for Variable {
    fn encode(&self, e: &mut Encoder) {
        e.array(2);
        self.0.encode(e);
        self.1.encode(e);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut parts = d.array(2, Text::decode)?.into_iter();
        match (parts.next(), parts.next()) {
            (Some(name), Some(value)) => Ok((name, value)),
            _ => Err(d.invalid("a variable is a name and a value")),
        }
    }
}

record! {
    /// A job as its submitter signs it. Its payload's digest is the job's id.
    pub struct Manifest("manifest", 65_536) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The network it is for.
        1 => network: Network,
        /// Coordinators that may lease it.
        2 => coordinators: List<CoordinatorId, 8>,
        /// Who may lease it when they are gone.
        3 => delegates: List<Delegate, 8>,
        /// Makes two equal submissions differ.
        4 => nonce: Nonce,
        /// Whose credit pays.
        5 => payer: AccountId,
        /// Who signs.
        6 => submitter: AccountId,
        /// The module as submitted.
        7 => module: Digest,
        /// Meter, cost table and profile.
        8 => versions: Versions,
        /// One input per task.
        9 => inputs: Inputs,
        /// What one task may use.
        10 => limits: Limits,
        /// Seed of the guest's randomness.
        11 => seed: [u8; 32],
        /// Arguments after argv[0].
        12 => argv: List<Text<4096>, 64>,
        /// Environment, sorted by name.
        13 => environment: List<Variable, 64>,
        /// Named read-only files, sorted by name.
        14 => files: List<File, 64>,
        /// How results are believed.
        15 => policy: Policy,
        /// What is paid.
        16 => tariff: Tariff,
        /// The most the job may ever cost, micro-credits.
        17 => budget: u64,
        /// When tasks that are not decided are stopped.
        18 => deadline: Micros,
        /// 0 to 9 among the payer's own jobs, 9 first.
        19 => priority: u8,
        /// Tags, sorted and unique.
        20 => tags: List<Text<64>, 16>,
        /// Who may read inputs and outputs.
        21 => visibility: Visibility,
        /// What a host must offer.
        22 => requirements: Requirements,
        /// For people.
        23 => title: Text<128>,
        /// How the host drives the module.
        24 => interface: Interface,
        /// How a long task is divided; for the `step` interface only.
        25 => steps: Option<Steps>,
    }
}

/// A rule of the manifest that its fields break together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct ManifestError {
    /// The field to change.
    pub field: &'static str,
    /// The rule, with its limit.
    pub rule: &'static str,
}

impl Manifest {
    /// The id of the job whose manifest has these payload bytes.
    #[must_use]
    pub fn id_of(payload: &[u8]) -> JobId {
        JobId(Digest::of(payload).0)
    }

    /// The id of this manifest's job.
    #[must_use]
    pub fn id(&self) -> JobId {
        Self::id_of(&self.to_bytes())
    }

    /// The blobs it names: module, files, input table.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> {
        let table = match self.inputs {
            Inputs::Table { blob, .. } => Some(blob),
            Inputs::Range { .. } => None,
        };
        let files = self.files.0.iter().map(|file| file.blob);
        files.chain(table).chain([self.module])
    }

    /// Checks what the encoding alone does not: ranges, order, uniqueness.
    ///
    /// # Errors
    /// The first rule broken, with the field that breaks it.
    pub fn validate(&self) -> Result<(), ManifestError> {
        let mut rules = self.rules().into_iter().chain(self.step_rules());
        let broken = rules.find(|(holds, ..)| !holds);
        broken.map_or(Ok(()), |(_, field, rule)| Err(ManifestError { field, rule }))
    }

    fn rules(&self) -> [Rule; 15] {
        let texts = |list: &[Text<4096>]| {
            list.iter().all(|text| text.0.len() <= 4096 && !text.0.contains('\0'))
        };
        let variables = &self.environment.0;
        let files = &self.files.0;
        let plain = |name: &str| {
            !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
        };
        let from_fits = match self.inputs {
            Inputs::Range { from, count } => from.checked_add(u64::from(count)).is_some(),
            Inputs::Table { .. } => true,
        };
        [
            (self.format == 1, "format", "must be 1"),
            (!self.coordinators.0.is_empty(), "coordinators", "name at least one"),
            ((1..=MAX_TASKS).contains(&self.inputs.count()), "inputs", "1 to 16,777,216 tasks"),
            (from_fits, "inputs", "from + count must fit 64 bits"),
            ((1..=MAX_FUEL).contains(&self.limits.fuel), "limits.fuel", "1 to 2^62 units"),
            (self.limits.memory <= 1 << 32, "limits.memory", "at most 4 GiB"),
            (self.limits.table <= 10_000_000, "limits.table", "at most 10,000,000 entries"),
            (texts(&self.argv.0), "argv", "no NUL, each at most 4 KiB"),
            (
                ascending(variables.iter().map(|v| &v.0)),
                "environment",
                "sorted by name, names unique",
            ),
            (
                variables.iter().all(|v| plain_variable(&v.0.0, &v.1.0)),
                "environment",
                "names without '=', no NUL",
            ),
            (ascending(files.iter().map(|f| &f.name)), "files", "sorted by name, names unique"),
            (
                files.iter().all(|f| plain(&f.name.0)),
                "files",
                "a plain name: not empty, '.', '..' and without '/'",
            ),
            (self.priority <= 9, "priority", "0 to 9"),
            (ascending(self.tags.0.iter()), "tags", "sorted and unique"),
            (
                ascending(self.requirements.features.0.iter()),
                "requirements.features",
                "sorted and unique",
            ),
        ]
    }

    fn step_rules(&self) -> [Rule; 3] {
        let most = self.limits.fuel;
        let within = |least, part: fn(&Steps) -> u64| {
            self.steps.is_none_or(|steps| (least..=most).contains(&part(&steps)))
        };
        [
            (
                self.steps.is_some() == (self.interface == Interface::Step),
                "steps",
                "there for the `step` interface, and for no other",
            ),
            (within(1, |steps| steps.budget), "steps.budget", "1 unit to limits.fuel"),
            (
                within(MIN_SEGMENT, |steps| steps.segment),
                "steps.segment",
                "2^22 units to limits.fuel",
            ),
        ]
    }
}

/// Whether a rule holds, the field it is about, and the rule.
type Rule = (bool, &'static str, &'static str);

fn plain_variable(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

fn ascending<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut previous = None;
    items.into_iter().all(|item| {
        let holds = previous.as_ref().is_none_or(|before| *before < item);
        previous = Some(item);
        holds
    })
}
