//! The bytecode pass that makes a WebAssembly module count its own fuel.
//!
//! [`meter`] takes a guest's module and returns one that behaves the same, except that it counts
//! what it spends, stops at its limits, and looks up at fixed points of its count so that the host
//! can stop it. All of that is in the bytecode, so every engine counts alike. What host and module
//! say to each other is in [`abi`]; docs/protocol/metering.md tells it to readers of other
//! languages.
//!
//! The pass has two halves. `inspect` validates and screens the original and plans every function;
//! `rewrite` writes the new module from those plans. Nothing of the guest's is renumbered: what the
//! meter needs is appended to each index space.

pub mod abi;
mod cost;
mod error;
mod inspect;
mod rewrite;
mod screen;

pub use abi::trap_fuel;
pub use cost::{Class, Context, CostTable, HostCost, MAX_WEIGHT, Moved, PREVIEW1, Unit, Weights};
pub use error::{ImportFault, Limit, MeterError};
pub use screen::Screen;

/// The version of the rewriting. Two receipts compare only under the same version.
pub const METER_VERSION: u32 = 3;

/// The fixed distance, in units of fuel, between two looks at the host's hook. Part of the cost
/// table: a distance fitted to the machine would give different totals at traps.
pub const SLICE: u64 = 1 << 22;

/// A type that may stand in the signature of an import. Floats and vectors may not: the bits of a
/// NaN would cross the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ty {
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
}

/// A host function that guests may import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Import {
    /// First part of its name.
    pub module: &'static str,
    /// Second part of its name.
    pub name: &'static str,
    /// Its parameters, in order.
    pub params: &'static [Ty],
    /// Its results, in order.
    pub results: &'static [Ty],
}

/// What guests may be and may use.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The host functions on offer.
    pub imports: &'static [Import],
    /// The screening limits.
    pub screen: Screen,
    /// The weights.
    pub costs: &'static CostTable,
    /// What happens at the end of a slice.
    pub slices: Slices,
}

/// What a module does whenever it has used another [`SLICE`] of fuel. Both count alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Slices {
    /// It calls the hook in [`abi::HOOKS`], which may end the run. Works with every engine.
    #[default]
    Hook,
    /// It looks at [`abi::CONTROL`], a memory of its own, which the host may write at any time. There is no call
    /// in a loop of the guest's then, and so engines keep its values in registers. Takes an
    /// engine with several memories, and a host with threads.
    Poll,
}

/// A metered module. The digests are BLAKE3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metered {
    /// The new module.
    pub bytes: Vec<u8>,
    /// Digest of the module as its author wrote it.
    pub original_digest: [u8; 32],
    /// Digest of [`Metered::bytes`].
    pub metered_digest: [u8; 32],
    /// What a host wants to know before it runs the module.
    pub info: ModuleInfo,
    /// Where in the original its exports end, for those who refuse it for one that is missing: an offset.
    pub exports_end: usize,
    /// Where in the original its first import stands, if it has one: an offset.
    pub first_import: Option<usize>,
}

/// Declared sizes of a memory (pages of 64 KiB) or a table (elements).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The size at instantiation.
    pub min: u32,
    /// The size beyond which growth fails whatever the host allows.
    pub max: Option<u32>,
}

/// What a host wants to know about a module before it runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleInfo {
    /// The guest's memory, if it has one.
    pub memory: Option<Extent>,
    /// The guest's table, if it has one.
    pub table: Option<Extent>,
    /// Whether it exports `_start`, a function without parameters and results.
    pub exports_start: bool,
    /// Whether it exports its memory as `memory`, which host functions read and write.
    pub exports_memory: bool,
    /// Whether it had a start function, now exported as [`abi::START`].
    pub start_function: bool,
    /// What it exports of a module in steps.
    pub steps: StepExports,
    /// Functions of the guest's own.
    pub functions: u32,
    /// The host functions it imports, in its order, by both parts of their names.
    pub imports: Vec<(String, String)>,
}

/// The functions that a module in steps exports, each with its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepExports {
    /// `init: () -> ()`.
    pub init: bool,
    /// `step: (i64) -> i32`.
    pub step: bool,
    /// `_initialize: () -> ()`, which it need not have.
    pub initialize: bool,
}

impl StepExports {
    /// Whether it can be run in steps: only then the meter gives the host ways to what the guest keeps between them.
    #[must_use]
    pub const fn are_whole(self) -> bool {
        self.init && self.step
    }
}

impl ModuleInfo {
    /// Whether the module can be instantiated under these limits, in pages and elements. One that
    /// cannot is refused before it runs.
    #[must_use]
    pub fn fits(&self, pages: u32, entries: u32) -> bool {
        self.memory.is_none_or(|memory| memory.min <= pages)
            && self.table.is_none_or(|table| table.min <= entries)
    }
}

/// Rewrites a module so that it counts its own fuel.
///
/// ```
/// # use tallymill_meter::{CostTable, Profile, Screen, Slices, abi, meter};
/// let profile = Profile { imports: &[], screen: Screen::default(), costs: CostTable::v1(), slices: Slices::Hook };
/// let guest = wat::parse_str("(module (func (export \"_start\")))").unwrap();
/// let metered = meter(&guest, &profile).unwrap();
/// assert!(metered.info.exports_start);
/// ```
///
/// # Errors
///
/// Refuses a module that is not valid under the profile's features, exceeds a screening limit,
/// imports what is not offered, or uses a name of the meter's.
pub fn meter(original: &[u8], profile: &Profile) -> Result<Metered, MeterError> {
    with_options(original, profile, inspect::Options::default())
}

/// Meters a module so that every NaN it computes gets random bits, from a generator of its own in the
/// module that starts with `seed`. What the meter promises is that nothing but time tells such a module from
/// the one that [`meter`] gives: for tests on every engine.
///
/// # Errors
///
/// As [`meter`].
#[doc(hidden)]
pub fn meter_scrambled(
    original: &[u8],
    profile: &Profile,
    seed: u64,
) -> Result<Metered, MeterError> {
    let options = inspect::Options { scramble: Some(seed), ..Default::default() };
    with_options(original, profile, options)
}

/// Meters a module with every loop charged and checked at its header, as the contract defines fuel: what
/// [`meter`] gives must count the same in every outcome.
///
/// # Errors
///
/// As [`meter`].
#[doc(hidden)]
pub fn meter_plain_loops(original: &[u8], profile: &Profile) -> Result<Metered, MeterError> {
    let options = inspect::Options { plain_loops: true, ..Default::default() };
    with_options(original, profile, options)
}

fn with_options(
    original: &[u8],
    profile: &Profile,
    options: inspect::Options,
) -> Result<Metered, MeterError> {
    let facts = inspect::inspect(original, profile, options)?;
    let bytes = rewrite::rewrite(original, &facts, profile)?;
    Ok(Metered {
        original_digest: *blake3::hash(original).as_bytes(),
        metered_digest: *blake3::hash(&bytes).as_bytes(),
        bytes,
        info: ModuleInfo::new(&facts),
        exports_end: facts.exports_end.unwrap_or(original.len()),
        first_import: facts.first_import,
    })
}

impl ModuleInfo {
    fn new(facts: &inspect::Facts) -> Self {
        // Validation holds 32-bit memories and tables to 32-bit sizes.
        let small = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
        let extent = |min: u64, max: Option<u64>| Extent { min: small(min), max: max.map(small) };
        Self {
            memory: facts.memory.map(|memory| extent(memory.initial, memory.maximum)),
            table: facts.table.map(|table| extent(table.initial, table.maximum)),
            exports_start: facts.exports_start,
            exports_memory: facts.exports_memory,
            start_function: facts.start.is_some(),
            steps: facts.steps,
            functions: facts.function_count() - facts.import_count(),
            imports: facts.import_names.clone(),
        }
    }
}
