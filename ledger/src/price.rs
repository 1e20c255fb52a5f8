//! Prices: what one result costs, and the most a job can cost.
//!
//! The price of a result is one exact fraction, rounded up once:
//!
//! ```text
//! price = ⌈ fuel × t.fuel / 10⁹ + bytes_in × t.input / 2²⁰ + bytes_out × t.output / 2²⁰
//!         + bytes_out × storage_seconds × t.storage / (2³⁰ × 86,400)
//!         + memory_fuel × t.memory / (2¹⁴ × 10⁹) + t.task + (first on its host: t.compile) ⌉
//! ```
//!
//! A GiB is 2¹⁴ pages of 64 KiB. A segment of a `step` job is priced as a result of its own: its input is also the
//! snapshot it begins from, its output the snapshot it ends with. Because each result is rounded by itself and sums of integers do not depend on grouping,
//! any way of gathering results into transfers gives the same balances.

use tallymill_protocol::{Inputs, Limits, Manifest, Policy, Receipt, Steps, Tariff, snapshot};

use crate::{Amount, AmountError};

/// How long outputs are kept for their price, seconds: seven days, the time after which a result is final at the latest.
pub const STORAGE_TERM: u64 = 7 * 86_400;

/// Longest input of a task of a `range` job, bytes: the 20 digits of 2⁶⁴ − 1 and a line feed.
pub const RANGE_INPUT_MAX: u64 = 21;

const PAGE: u64 = 65_536;
const MIB: u128 = 1 << 20;
const GFUEL: u128 = 1_000_000_000;
/// Pages in a GiB × 10⁹ fuel.
const MEMORY: u128 = (1 << 14) * GFUEL;
/// Bytes in a GiB × seconds in a day.
const STORAGE: u128 = (1 << 30) * 86_400;
/// A common multiple of the denominators above, 2³⁷ × 3³ × 5⁹.
const COMMON: u128 = (1 << 37) * 27 * 1_953_125;

/// Why something has no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The price of one result exceeds 2⁶³ − 1 micro-credits.
    #[error("the price of one result exceeds the largest amount: lower the tariff or the limits")]
    Result,
    /// The price of all results does.
    #[error(
        "the price of {results} results at {each} each exceeds the largest amount: lower the limits or the number of tasks"
    )]
    Job {
        /// Number of results.
        results: u64,
        /// The most that each can cost.
        each: Amount,
    },
}

/// What one result used, as far as it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PricedUse {
    /// Fuel.
    pub fuel: u64,
    /// Bytes of standard input.
    pub bytes_in: u64,
    /// Bytes of standard output.
    pub bytes_out: u64,
    /// Seconds for which the output is kept.
    pub storage_seconds: u64,
    /// Pages of 64 KiB × fuel.
    pub memory_fuel: u128,
    /// Whether it is the host's first result of the job, which pays for compiling.
    pub first_on_host: bool,
}

impl PricedUse {
    /// What a receipt says was used, with its output kept for [`STORAGE_TERM`].
    #[must_use]
    pub fn of(receipt: &Receipt, first_on_host: bool) -> Self {
        Self {
            fuel: receipt.fuel,
            bytes_in: receipt.bytes_in,
            bytes_out: receipt.bytes_out,
            storage_seconds: STORAGE_TERM,
            memory_fuel: u128::from(receipt.memory_fuel),
            first_on_host,
        }
    }

    /// The most that one result can use within `limits`, its input given.
    #[must_use]
    pub fn most(limits: &Limits, bytes_in: u64, first_on_host: bool) -> Self {
        Self {
            fuel: limits.fuel,
            bytes_in,
            bytes_out: limits.output,
            storage_seconds: STORAGE_TERM,
            memory_fuel: u128::from(limits.fuel) * u128::from(limits.memory.div_ceil(PAGE)),
            first_on_host,
        }
    }
}

/// The price of one result, by the formula at the top of this module.
///
/// # Errors
/// When it exceeds the largest amount.
///
/// ```
/// use tallymill_ledger::{price, Amount, PricedUse};
/// use tallymill_protocol::Tariff;
/// // The base tariff is 1 credit per 10⁹ fuel; the fraction of a micro-credit is rounded up.
/// let used = PricedUse { fuel: 2_500_000_001, ..PricedUse::default() };
/// assert_eq!(price(&Tariff::default(), &used)?, Amount::new(2_500_001));
/// # Ok::<(), tallymill_ledger::PriceError>(())
/// ```
pub fn price(tariff: &Tariff, used: &PricedUse) -> Result<Amount, PriceError> {
    let kept = u128::from(used.bytes_out) * u128::from(used.storage_seconds);
    let terms = [
        (tariff.fuel, u128::from(used.fuel), GFUEL),
        (tariff.input, u128::from(used.bytes_in), MIB),
        (tariff.output, u128::from(used.bytes_out), MIB),
        (tariff.storage, kept, STORAGE),
        (tariff.memory, used.memory_fuel, MEMORY),
        (tariff.task, 1, 1),
        (tariff.compile, u128::from(used.first_on_host), 1),
    ];
    // What does not fit 128 bits here is above 2⁶⁵ micro-credits, so no price that fits is ever refused.
    let sum = terms.into_iter().try_fold(0u128, |sum, (rate, quantity, unit)| {
        let term = u128::from(rate).checked_mul(quantity)?.checked_mul(COMMON / unit)?;
        sum.checked_add(term)
    });
    let rounded = sum.map(|sum| sum.div_ceil(COMMON)).and_then(|micros| i64::try_from(micros).ok());
    rounded.map(Amount::new).ok_or(PriceError::Result)
}

/// The sum of the prices of many results.
///
/// # Errors
/// When one price or the sum exceeds the largest amount.
///
/// ```
/// use tallymill_ledger::{total, Amount, PricedUse};
/// let used = PricedUse { fuel: 1, ..PricedUse::default() };
/// // Each is rounded up by itself: three results of a fraction of a micro-credit cost three.
/// assert_eq!(total(&Default::default(), &[used; 3])?, Amount::new(3));
/// # Ok::<(), tallymill_ledger::PriceError>(())
/// ```
pub fn total(tariff: &Tariff, results: &[PricedUse]) -> Result<Amount, PriceError> {
    let add = |sum: Amount, used| {
        sum.plus(price(tariff, used)?).map_err(|_: AmountError| PriceError::Result)
    };
    results.iter().try_fold(Amount::ZERO, add)
}

/// The surcharge on a result of this price: parts per million, rounded up. It exceeds the price only above 1,000,000 parts.
///
/// # Errors
/// When it exceeds the largest amount.
///
/// ```
/// use tallymill_ledger::{surcharge_on, Amount};
/// assert_eq!(surcharge_on(Amount::new(1_000_001), 50_000)?, Amount::new(50_001));
/// # Ok::<(), tallymill_ledger::PriceError>(())
/// ```
pub fn surcharge_on(price: Amount, parts: u32) -> Result<Amount, PriceError> {
    let exact = i128::from(price.micros()) * i128::from(parts);
    let rounded = (exact + 999_999).div_euclid(1_000_000);
    i64::try_from(rounded).map(Amount::new).map_err(|_| PriceError::Result)
}

/// The most that one result of a job can cost with its surcharge: what a lease of a command reserves per task. `bytes_in`
/// is the length of the task's input ([`RANGE_INPUT_MAX`] for `range` jobs). Of a `step` job it is the most that all
/// segments of a task can cost together, each on a host of its own, whatever the flag says.
///
/// # Errors
/// When it exceeds the largest amount.
///
/// ```
/// use tallymill_ledger::{Amount, PriceError, RANGE_INPUT_MAX, most_per_result};
/// fn reserved(manifest: &tallymill_protocol::Manifest) -> Result<Amount, PriceError> {
///     most_per_result(manifest, RANGE_INPUT_MAX, false)
/// }
/// ```
pub fn most_per_result(
    manifest: &Manifest,
    bytes_in: u64,
    first_on_host: bool,
) -> Result<Amount, PriceError> {
    let Manifest { tariff, limits, .. } = manifest;
    if let Some(steps) = &manifest.steps {
        return most_per_chain(manifest, steps, bytes_in);
    }
    let most = price(tariff, &PricedUse::most(limits, bytes_in, first_on_host))?;
    with_surcharge(manifest, most)
}

/// The most that one segment of a `step` job can cost with its surcharge: what a lease of it reserves. `fuel` is what the
/// task has left of its limit, `bytes_in` the length of its input and of the snapshot that the segment begins from.
///
/// # Errors
/// When it exceeds the largest amount.
///
/// ```
/// use tallymill_ledger::{Amount, PriceError, RANGE_INPUT_MAX, most_per_segment};
/// fn reserved_at_the_start(manifest: &tallymill_protocol::Manifest) -> Result<Amount, PriceError> {
///     most_per_segment(manifest, manifest.limits.fuel, RANGE_INPUT_MAX)
/// }
/// ```
pub fn most_per_segment(
    manifest: &Manifest,
    fuel: u64,
    bytes_in: u64,
) -> Result<Amount, PriceError> {
    let whole = PricedUse::most(&Limits { fuel, ..manifest.limits }, bytes_in, true);
    let used = PricedUse { bytes_out: longest_output(&manifest.limits), ..whole };
    with_surcharge(manifest, price(&manifest.tariff, &used)?)
}

/// Standard output, or a snapshot.
fn longest_output(limits: &Limits) -> u64 {
    limits.output.max(snapshot::max_len(limits))
}

/// The fuel of the whole task once, and for each segment its fees, and one micro-credit because each is rounded up by itself.
fn most_per_chain(manifest: &Manifest, steps: &Steps, bytes_in: u64) -> Result<Amount, PriceError> {
    let (limits, fees) = (&manifest.limits, manifest.tariff);
    let bytes_in = bytes_in.saturating_add(snapshot::max_len(limits));
    let once = PricedUse { bytes_in: 0, bytes_out: 0, ..PricedUse::most(limits, 0, false) };
    let once = price(&Tariff { task: 0, ..fees }, &once)?;
    let each = PricedUse { fuel: 0, memory_fuel: 0, ..PricedUse::most(limits, bytes_in, true) };
    let each = price(&fees, &PricedUse { bytes_out: longest_output(limits), ..each })?;
    let segments = i128::from(steps.most_segments(limits.fuel));
    let most = i128::from(once.micros()) + segments * (i128::from(each.micros()) + 1);
    let most = i64::try_from(most).map(Amount::new).map_err(|_| PriceError::Result)?;
    let rounding = if surcharge_parts(&manifest.policy) == 0 { 0 } else { segments };
    let rounding = i64::try_from(rounding).map(Amount::new).map_err(|_| PriceError::Result)?;
    with_surcharge(manifest, most)?.plus(rounding).map_err(|_| PriceError::Result)
}

fn with_surcharge(manifest: &Manifest, most: Amount) -> Result<Amount, PriceError> {
    let surcharge = surcharge_on(most, surcharge_parts(&manifest.policy))?;
    most.plus(surcharge).map_err(|_| PriceError::Result)
}

/// The most a job can cost: tasks × copies × the price at the limits, each copy on a host of its own that compiles the
/// module, with the policy's surcharge. Of a `step` job each segment of each copy is on a host of its own.
///
/// Copies are the replicas of the policy, and one more where they must agree: a third host breaks a tie before either
/// of the first two is known to lose, so its price is set aside beside theirs. What does not happen is given back.
/// `largest_input` is the length of the longest input, bytes; a `range` job needs none and ignores it.
///
/// # Errors
/// When the price exceeds the largest amount.
///
/// ```
/// fn quote(manifest: &tallymill_protocol::Manifest) -> Result<String, tallymill_ledger::PriceError> {
///     Ok(format!("costs at most {}", tallymill_ledger::cap(manifest, 0)?))
/// }
/// ```
pub fn cap(manifest: &Manifest, largest_input: u64) -> Result<Amount, PriceError> {
    let bytes_in = match manifest.inputs {
        Inputs::Range { .. } => RANGE_INPUT_MAX,
        Inputs::Table { .. } => largest_input,
    };
    let each = most_per_result(manifest, bytes_in, true)?;
    let results = u64::from(manifest.inputs.count()) * copies(&manifest.policy);
    let all = i128::from(each.micros()) * i128::from(results);
    i64::try_from(all).map(Amount::new).map_err(|_| PriceError::Job { results, each })
}

fn copies(policy: &Policy) -> u64 {
    match policy {
        Policy::Quorum { n } => u64::from(*n) + 1,
        _ => 1,
    }
}

/// The surcharge of a policy, parts per million of each result's price.
const fn surcharge_parts(policy: &Policy) -> u32 {
    match policy {
        Policy::Audit { surcharge, .. } | Policy::SelfCheck { surcharge } => *surcharge,
        Policy::Trusted | Policy::Quorum { .. } => 0,
    }
}
