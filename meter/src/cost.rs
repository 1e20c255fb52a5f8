//! The cost table: what each operator weighs, in units of fuel.
//!
//! A table is named by its version and by the BLAKE3 hash of its canonical text, which lists every
//! operator of the profile, so that two receipts can only be compared when they mean the same units.

use crate::{SLICE, abi};
use std::fmt::Write as _;
use std::sync::LazyLock;
use wasmparser::Operator;

/// The proposals whose operators a guest may use, by the names `wasmparser` gives them.
const PROPOSALS: [&str; 6] =
    ["mvp", "sign_extension", "saturating_float_to_int", "bulk_memory", "reference_types", "simd"];

/// Operators that generate no code of their own, or only a jump whose condition was paid before.
const FREE: [&str; 8] = ["Nop", "Drop", "Block", "Loop", "Unreachable", "Return", "Else", "End"];

macro_rules! operators {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        const NAMES: &[(&str, &str)] = &[$((stringify!($proposal), stringify!($op))),*];

        fn position(op: &Operator<'_>) -> usize {
            enum Position { $($op),* }
            match op {
                $(Operator::$op $({ $($arg: _),* })? => Position::$op as usize,)*
                _ => NAMES.len(),
            }
        }
    };
}
wasmparser::for_each_operator!(operators);

/// Work that is paid by length, beside the flat weight of its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A byte written by `memory.fill`.
    MemoryFill,
    /// A byte copied by `memory.copy`.
    MemoryCopy,
    /// A byte copied by `memory.init`.
    MemoryInit,
    /// A page added by `memory.grow`; nothing is paid when it answers −1.
    MemoryGrow,
    /// An element written by `table.fill`.
    TableFill,
    /// An element copied by `table.copy`.
    TableCopy,
    /// An element copied by `table.init`.
    TableInit,
    /// An element added by `table.grow`; nothing is paid when it answers −1.
    TableGrow,
}

impl Unit {
    const ALL: [Self; 8] = [
        Self::MemoryFill,
        Self::MemoryCopy,
        Self::MemoryInit,
        Self::MemoryGrow,
        Self::TableFill,
        Self::TableCopy,
        Self::TableInit,
        Self::TableGrow,
    ];
}

/// A versioned set of weights. Immutable once released: a new one gets a new version.
#[derive(Debug)]
pub struct CostTable {
    version: u32,
    function: u32,
    weights: Vec<u32>,
    units: [u32; Unit::ALL.len()],
    text: String,
    hash: [u8; 32],
}

static V1: LazyLock<CostTable> = LazyLock::new(|| {
    // Pages weigh nothing here: what memory costs is the product of its size and the fuel spent.
    let unit = |unit| u32::from(unit != Unit::MemoryGrow);
    CostTable::new(1, |name| u32::from(!FREE.contains(&name)), unit)
});

impl CostTable {
    /// Version 1: every operator weighs 1 except those that generate no code, a function entry
    /// weighs 1, and bulk operators pay 1 for each byte or element.
    #[must_use]
    pub fn v1() -> &'static Self {
        &V1
    }

    fn new(version: u32, weight: impl Fn(&str) -> u32, unit: impl Fn(Unit) -> u32) -> Self {
        let mut table = Self {
            version,
            function: 1,
            weights: NAMES.iter().map(|(_, name)| weight(name)).collect(),
            units: Unit::ALL.map(unit),
            text: String::new(),
            hash: [0; 32],
        };
        table.text = table.canonical();
        table.hash = *blake3::hash(table.text.as_bytes()).as_bytes();
        table
    }

    fn canonical(&self) -> String {
        let mut text = format!("tallymill cost table {}\nslice {SLICE}\n", self.version);
        let (base, slot) = (abi::FRAME_BASE, abi::FRAME_SLOT);
        let _ = writeln!(text, "frame {base} {slot}\nfunction {}", self.function);
        for ((proposal, name), weight) in NAMES.iter().zip(&self.weights) {
            if PROPOSALS.contains(proposal) {
                let _ = writeln!(text, "operator {proposal} {name} {weight}");
            }
        }
        for (unit, weight) in Unit::ALL.iter().zip(&self.units) {
            let _ = writeln!(text, "unit {unit:?} {weight}");
        }
        text
    }

    /// The version, as written into receipts.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// BLAKE3 over [`CostTable::text`].
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The canonical text: one line per figure, in a fixed order, ending in a newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The flat weight of an operator, in units of fuel.
    #[must_use]
    pub fn operator(&self, op: &Operator<'_>) -> u32 {
        // Operators outside the profile never get past validation; 1 keeps this function total.
        self.weights.get(position(op)).copied().unwrap_or(1)
    }

    /// What entering a function costs, in units of fuel.
    #[must_use]
    pub fn function(&self) -> u32 {
        self.function
    }

    /// The weight of one byte, page or element of work paid by length.
    #[must_use]
    pub fn unit(&self, unit: Unit) -> u32 {
        self.units[unit as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_operators_exist_under_the_names_used_here() {
        for free in FREE {
            assert!(NAMES.contains(&("mvp", free)), "{free}");
        }
        for proposal in PROPOSALS {
            assert!(NAMES.iter().any(|(name, _)| *name == proposal), "{proposal}");
        }
    }

    #[test]
    fn weights_follow_the_operator() {
        let table = CostTable::v1();
        assert_eq!(table.operator(&Operator::I32Add), 1);
        assert_eq!(table.operator(&Operator::Nop), 0);
        assert_eq!(table.operator(&Operator::MemoryGrow { mem: 0 }), 1);
        assert_eq!(table.unit(Unit::MemoryGrow), 0);
        assert_eq!(table.unit(Unit::TableGrow), 1);
    }
}
