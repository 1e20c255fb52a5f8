//! What a metered module and its host say to each other: names, units and who sets what when.
//!
//! Every name starts with [`PREFIX`], which guests may not use. All globals start at zero, and zero
//! grants nothing: a host that forgets one sees the run stop at once. The order of a run:
//!
//! 1. Instantiate. Nothing of the guest runs: its start function was renamed to [`START`].
//! 2. Put a function of type `(i64) -> ()` into slot 0 of the table [`HOOKS`]; set [`LIMIT`],
//!    [`STACK`], [`PAGES`] and [`ENTRIES`].
//! 3. Call [`START`] if it is exported, then the guest's own export.
//! 4. When that returns, call [`FINISH`], which stops a run whose last block went over the limit.
//! 5. Read [`MARK`], [`COUNT`] and [`CAUSE`], and let [`stopped_fuel`] say what is owed.

use crate::SLICE;

/// What every export name of the meter starts with.
pub const PREFIX: &str = "tallymill:";

/// Mutable i64 global, units of fuel: the absolute count at which the module next looks up, the
/// smaller of the limit and the next multiple of [`SLICE`]. Kept by the module.
pub const MARK: &str = "tallymill:mark";

/// Mutable i64 global, units of fuel: the flushed count as a signed distance from [`MARK`].
///
/// Kept by the module. A host that resumes an earlier run sets `MARK` to the fuel already used and
/// this to zero; the next check then arms itself, as it does at the start of a run.
pub const COUNT: &str = "tallymill:count";

/// Mutable i64 global, units of fuel, set by the host before the run: at most [`MAX_LIMIT`].
pub const LIMIT: &str = "tallymill:limit";

/// Mutable i32 global, bytes of modelled stack still free; the host sets it to [`STACK_BUDGET`]
/// before every call into the module.
pub const STACK: &str = "tallymill:stack";

/// Mutable i32 global read as unsigned, pages of 64 KiB: the size beyond which `memory.grow`
/// answers −1. Set by the host; the engine must be able to grow that far.
pub const PAGES: &str = "tallymill:pages";

/// Mutable i32 global read as unsigned, elements: the size beyond which `table.grow` answers −1.
/// Set by the host; the engine must be able to grow that far.
pub const ENTRIES: &str = "tallymill:entries";

/// Mutable i32 global: a [`Cause`], set by the module before it stops itself.
pub const CAUSE: &str = "tallymill:cause";

/// Mutable i64 global, unsigned, pages of 64 KiB × units of fuel: the product of memory size and fuel
/// spent, summed up to the last successful `memory.grow`. Kept by the module; at most 2⁶⁴−1, where it
/// stays. What has been used since is added by [`memory_fuel`].
pub const INTEGRAL: &str = "tallymill:integral";

/// Mutable i64 global, units of fuel, absolute: where [`INTEGRAL`] was last summed. Kept by the module;
/// a host that resumes an earlier run sets both to what they were.
pub const GROWN: &str = "tallymill:grown";

/// Table of `funcref`: slot 0 holds the slice hook, of type `(i64) -> ()`. There is no other but in a module in steps.
///
/// The module calls it with the absolute fuel whenever a check finds that the count has passed
/// [`MARK`]: at the first check of a run and then once per [`SLICE`]. To end the run (cancellation,
/// deadline, a cap of the machine's owner) the hook fails with an error of the host's own.
pub const HOOKS: &str = "tallymill:hooks";

/// Memory of one page, in modules whose slices are [`Slices::Poll`](crate::Slices::Poll): what host and module tell
/// each other while the guest runs. Whenever a check finds that the count has passed [`MARK`], the module ends the
/// run with [`Cause::Hook`] if its fuel is above what stands at [`BOUND_AT`], and else writes it to
/// [`PROGRESS_AT`].
pub const CONTROL: &str = "tallymill:control";

/// Where the largest fuel stands that the host lets the run go on with: i64. The host sets it before the run, to
/// the limit or more, and to [`STOP`] to end the run at its next slice.
pub const BOUND_AT: u32 = 0;

/// Where the fuel of the last slice stands: i64.
pub const PROGRESS_AT: u32 = 8;

/// A bound below every fuel.
pub const STOP: i64 = -1;

/// The guest's memory, if it has one, whatever names the guest gives it.
pub const MEMORY: &str = "tallymill:memory";

/// Exported function `() -> ()`: the guest's start function, if it had one.
pub const START: &str = "tallymill:start";

/// Exported function `() -> ()`: the last check of a run, called after the guest returned.
pub const FINISH: &str = "tallymill:finish";

/// Of a module in steps only: the guest's table, if it has one. Entries 1 to n of [`HOOKS`] are then the guest's n functions
/// by their index, null where no reference can name one: what stands in the table is found by comparing it with those.
pub const TABLE: &str = "tallymill:table";

/// Of a module in steps only, followed by the position among the guest's mutable globals, a colon and its type: a function
/// that gives its value. Bits of a number are one i64, of a v128 two, the lower half first; a reference is itself.
pub const GET: &str = "tallymill:get:";

/// The same: a function that takes what [`GET`] gives and sets the global.
pub const SET: &str = "tallymill:set:";

/// Of a module in steps only, followed by the index of a data segment that the guest can drop: a mutable i32 global, 1 once
/// it did.
pub const DROPPED_DATA: &str = "tallymill:dropped-data:";

/// The same of an element segment.
pub const DROPPED_ELEMENT: &str = "tallymill:dropped-element:";

/// Of a module in steps only, followed by the index of such a data segment: a function that drops it.
pub const DROP_DATA: &str = "tallymill:drop-data:";

/// The same of an element segment.
pub const DROP_ELEMENT: &str = "tallymill:drop-element:";

/// Of a module in steps only: an i32 constant, the number of the guest's data segments.
pub const DATA: &str = "tallymill:data";

/// Of a module in steps only: an i32 constant, the number of the guest's element segments.
pub const ELEMENTS: &str = "tallymill:elements";

/// The largest fuel limit: sums with it cannot overflow a signed 64-bit count.
pub const MAX_LIMIT: u64 = (1 << 62) - 1;

/// The stack a run may use, in modelled bytes (see [`FRAME_BASE`] and [`FRAME_SLOT`]).
///
/// The model charges 16 bytes a slot where engines use 8 for everything but vectors, so this fits
/// the 984 KiB that V8 gives by default; a configurable engine gets at least four times as much.
pub const STACK_BUDGET: i32 = 512 * 1024;

/// Modelled bytes of a call frame before any slot: return address, saved registers, instance.
pub const FRAME_BASE: u32 = 64;

/// Modelled bytes of each parameter, local and operand: the size of the largest value, a v128.
pub const FRAME_SLOT: u32 = 16;

/// The most bytes a bulk memory operator moves between two looks at the fuel count.
pub const CHUNK_BYTES: u32 = 64 * 1024;

/// The most elements a bulk table operator moves between two looks: 64 KiB of 8-byte references.
pub const CHUNK_ELEMENTS: u32 = CHUNK_BYTES / 8;

/// A bulk operator with a constant length up to this is paid with its block and left in place.
pub const INLINE_LENGTH: u32 = 1024;

/// Why a metered module stopped itself, as found in [`CAUSE`] after a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Cause {
    /// It did not stop itself: the trap, if any, is the engine's or the host's.
    None = 0,
    /// The fuel limit was reached. A deterministic outcome; the fuel is the limit.
    Exhausted = 1,
    /// The stack budget was used up. A deterministic outcome; the fuel was flushed.
    StackOverflow = 2,
    /// The guest executed `unreachable`. A deterministic outcome; the fuel was flushed.
    Unreachable = 3,
    /// The host's hook did not return, or the host set the bound below the fuel: it ended the run for a
    /// reason of its own.
    Hook = 4,
    /// The host left the hook null: the run is void.
    NullHook = 5,
    /// The engine refused a growth that the limits allow: the run is void.
    Growth = 6,
    /// The engine carried out a bulk operator that is out of range: the run is void.
    Engine = 7,
}

impl Cause {
    /// Every cause, in the order of its code.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Exhausted,
        Self::StackOverflow,
        Self::Unreachable,
        Self::Hook,
        Self::NullHook,
        Self::Growth,
        Self::Engine,
    ];

    /// The code as it stands in the global.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// Reads the global; `None` for a code that no metered module writes.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.code() == code)
    }

    /// Whether the run says nothing about the guest: no receipt, no vote, no pay.
    #[must_use]
    pub const fn is_void(self) -> bool {
        matches!(self, Self::Hook | Self::NullHook | Self::Growth | Self::Engine)
    }
}

/// The absolute flushed count, from the values of [`MARK`] and [`COUNT`].
#[must_use]
pub const fn flushed_fuel(mark: i64, count: i64) -> u64 {
    let fuel = mark.saturating_add(count);
    if fuel < 0 { 0 } else { fuel.unsigned_abs() }
}

/// The fuel owed by a run that ended in a trap of the engine, where the local count is lost: the
/// next multiple of [`SLICE`] above the last flushed count, or the limit if that is smaller.
#[must_use]
pub const fn trap_fuel(flushed: u64, limit: u64) -> u64 {
    let next = (flushed | (SLICE - 1)).saturating_add(1);
    if next < limit { next } else { limit }
}

/// The fuel owed by a run that ended in a trap: exact where the module flushed first, defined by
/// [`trap_fuel`] otherwise. `flushed` is [`flushed_fuel`]'s answer.
#[must_use]
pub const fn stopped_fuel(cause: Cause, flushed: u64, limit: u64) -> u64 {
    match cause {
        Cause::Exhausted => limit,
        Cause::None => trap_fuel(flushed, limit),
        _ if flushed < limit => flushed,
        _ => limit,
    }
}

/// The memory × fuel of a run that owes `fuel` and ends with `pages` pages of memory, from the values of
/// [`INTEGRAL`] and [`GROWN`]. Cut to 2⁶⁴−1, as the module cuts its own sum.
#[must_use]
pub const fn memory_fuel(integral: i64, grown: i64, pages: u32, fuel: u64) -> u64 {
    let since = fuel.saturating_sub(grown.cast_unsigned());
    let rest = since as u128 * pages as u128;
    let sum = integral.cast_unsigned() as u128 + rest;
    if sum > u64::MAX as u128 {
        return u64::MAX;
    }
    #[expect(clippy::cast_possible_truncation, reason = "compared with the largest u64 just above")]
    let sum = sum as u64;
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_fuel_is_the_next_slice_or_the_limit() {
        assert_eq!(trap_fuel(0, u64::MAX), SLICE);
        assert_eq!(trap_fuel(SLICE - 1, u64::MAX), SLICE);
        assert_eq!(trap_fuel(SLICE, u64::MAX), 2 * SLICE);
        assert_eq!(trap_fuel(10, 11), 11);
        assert_eq!(trap_fuel(u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn memory_fuel_adds_what_was_used_since_the_last_growth() {
        assert_eq!(memory_fuel(0, 0, 3, 7), 21);
        assert_eq!(memory_fuel(100, 5, 3, 7), 106);
        assert_eq!(memory_fuel(-2, 0, 1, 1), u64::MAX);
        assert_eq!(memory_fuel(-1, 0, 1, 0), u64::MAX);
        assert_eq!(memory_fuel(1, 0, 65_536, 1 << 48), u64::MAX);
        assert_eq!(memory_fuel(0, 1, 65_536, 1 << 48), u64::MAX - 65_535);
    }

    #[test]
    fn codes_read_back_and_unknown_codes_do_not() {
        for cause in Cause::ALL {
            assert_eq!(Cause::from_code(cause.code()), Some(cause));
        }
        assert_eq!(Cause::from_code(8), None);
        assert_eq!(Cause::from_code(-1), None);
    }

    #[test]
    fn stopped_fuel_is_exact_where_the_module_flushed() {
        assert_eq!(stopped_fuel(Cause::Exhausted, 3, 9), 9);
        assert_eq!(stopped_fuel(Cause::Unreachable, 3, 9), 3);
        assert_eq!(stopped_fuel(Cause::StackOverflow, 12, 9), 9);
        assert_eq!(stopped_fuel(Cause::None, 3, 9), 9);
        assert_eq!(flushed_fuel(10, -4), 6);
        assert_eq!(flushed_fuel(0, -4), 0);
    }
}
