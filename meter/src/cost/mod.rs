//! The cost table: what each operator weighs, in units of fuel.
//!
//! A table is named by its version and by the BLAKE3 hash of its canonical text, which lists every
//! operator of the profile, so that two receipts can only be compared when they mean the same units.

mod class;
mod fitted;
mod host;

pub use class::Class;
pub use host::{HostCost, Moved, PREVIEW1};

use crate::{SLICE, abi};
use std::fmt::Write as _;
use std::sync::LazyLock;
use wasmparser::Operator;

/// The proposals whose operators a guest may use, by the names `wasmparser` gives them.
const PROPOSALS: [&str; 6] =
    ["mvp", "sign_extension", "saturating_float_to_int", "bulk_memory", "reference_types", "simd"];

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
    /// Every unit, in the order of the enumeration.
    pub const ALL: [Self; 8] = [
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

/// The figures of a table, as they are chosen or fitted.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// What entering a function costs.
    pub function: u32,
    /// What an operator costs, by the name `wasmparser` gives it.
    pub operator: &'a dyn Fn(&str) -> u32,
    /// What an integer comparison costs instead that decides: its answer goes straight to a `br_if`,
    /// an `if` or a `select`, for which machines need no register.
    pub deciding: u32,
    /// What a `br_if` costs instead that leads back to the top of a loop: nearly all of those go where
    /// machines expect.
    pub back: u32,
    /// What a byte, page or element of work paid by length costs.
    pub unit: &'a dyn Fn(Unit) -> u32,
    /// What calls of host functions cost; one that is not listed costs nothing beside its `call`.
    pub hosts: &'a [HostCost],
}

/// What the weight of an operator depends on beside the operator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The operator that stands behind it.
    pub next: Option<&'a Operator<'a>>,
    /// Whether it is a branch to the top of a loop.
    pub back: bool,
}

/// A versioned set of weights. Immutable once released: a new one gets a new version.
#[derive(Debug)]
pub struct CostTable {
    version: u32,
    function: u32,
    weights: Vec<u32>,
    deciding: u32,
    back: u32,
    units: [u32; Unit::ALL.len()],
    hosts: Vec<HostCost>,
    text: String,
    hash: [u8; 32],
}

static V1: LazyLock<CostTable> = LazyLock::new(|| {
    CostTable::new(
        1,
        &Weights {
            function: 1,
            operator: &|name| u32::from(Class::of(name) != Class::Free),
            deciding: 1,
            back: 1,
            // Pages weigh nothing: what memory costs is the product of its size and the fuel spent.
            unit: &|unit| u32::from(unit != Unit::MemoryGrow),
            hosts: &[],
        },
    )
});

static V3: LazyLock<CostTable> = LazyLock::new(|| {
    let class = |wanted| {
        let found = fitted::CLASSES.iter().find(|(class, _)| *class == wanted);
        found.map_or(0, |(_, weight)| *weight)
    };
    let unit = |wanted| {
        let found = fitted::UNITS.iter().find(|(unit, _)| *unit == wanted);
        found.map_or(0, |(_, weight)| *weight)
    };
    let hosts = host::preview1(fitted::HOST_BASE, fitted::HOST_COPIED, fitted::HOST_RANDOM);
    CostTable::new(
        3,
        &Weights {
            function: fitted::FUNCTION,
            operator: &|name| class(Class::of(name)),
            deciding: fitted::DECIDING,
            back: fitted::BACK,
            unit: &unit,
            hosts: &hosts,
        },
    )
});

/// The largest weight of anything, which is a slice: sums over a function body and products with a
/// length in 32 bits stay far below 2⁶².
pub const MAX_WEIGHT: u32 = 1 << 22;

impl CostTable {
    /// Version 1: every operator weighs 1 except those that generate no code, a function entry
    /// weighs 1, bulk operators pay 1 for each byte or element, host calls nothing.
    #[must_use]
    pub fn v1() -> &'static Self {
        &V1
    }

    /// Version 3: weights fitted to the CPU time of kernels and of guests that do one thing only.
    #[must_use]
    pub fn v3() -> &'static Self {
        &V3
    }

    /// A table of these weights, each cut to [`MAX_WEIGHT`]. Function entries, jumps and calls weigh
    /// at least 1, whatever is asked for: that is what makes every endless loop end.
    #[must_use]
    pub fn new(version: u32, weights: &Weights<'_>) -> Self {
        let cut = |weight: u32| weight.min(MAX_WEIGHT);
        let operator = |name: &str| match Class::of(name) {
            Class::Jump | Class::Branch | Class::BrTable | Class::Call | Class::CallIndirect => {
                cut((weights.operator)(name)).max(1)
            }
            _ => cut((weights.operator)(name)),
        };
        let mut hosts = weights.hosts.to_vec();
        for host in &mut hosts {
            (host.base, host.byte) = (cut(host.base), cut(host.byte));
        }
        hosts.sort_by_key(|host| (host.module, host.name));
        let mut table = Self {
            version,
            function: cut(weights.function).max(1),
            weights: NAMES.iter().map(|(_, name)| operator(name)).collect(),
            deciding: cut(weights.deciding),
            back: cut(weights.back).max(1),
            units: Unit::ALL.map(|unit| cut((weights.unit)(unit))),
            hosts,
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
        // Where an operator stands makes no difference in tables from before there were such weights: their text stays.
        if self.differs(|name| Class::of(name) == Class::IntTest, self.deciding) {
            let _ = writeln!(text, "deciding {}", self.deciding);
        }
        if self.differs(|name| name == "BrIf", self.back) {
            let _ = writeln!(text, "back {}", self.back);
        }
        for (unit, weight) in Unit::ALL.iter().zip(&self.units) {
            let _ = writeln!(text, "unit {unit:?} {weight}");
        }
        for HostCost { module, name, base, byte, moved } in &self.hosts {
            let _ = writeln!(text, "host {module} {name} {base} {byte} {moved:?}");
        }
        text
    }

    /// Whether any of these operators weighs something else.
    fn differs(&self, of: impl Fn(&str) -> bool, weight: u32) -> bool {
        NAMES.iter().zip(&self.weights).any(|((_, name), own)| of(name) && *own != weight)
    }

    /// The names of the operators a guest may use, as `wasmparser` has them.
    pub fn operators() -> impl Iterator<Item = &'static str> {
        let known = |(proposal, _): &&(&str, &str)| PROPOSALS.contains(proposal);
        NAMES.iter().filter(known).map(|(_, name)| *name)
    }

    /// The name `wasmparser` gives an operator.
    #[must_use]
    pub fn name(op: &Operator<'_>) -> &'static str {
        NAMES.get(position(op)).map_or("", |(_, name)| name)
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

    /// The flat weight of an operator in its place, in units of fuel.
    #[must_use]
    pub fn operator(&self, op: &Operator<'_>, place: Context<'_>) -> u32 {
        if decides(op, place.next) {
            return self.deciding;
        }
        if place.back && matches!(op, Operator::BrIf { .. }) {
            return self.back;
        }
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

    /// What calls of a host function cost, if it is listed.
    #[must_use]
    pub fn host(&self, module: &str, name: &str) -> Option<&HostCost> {
        self.hosts.iter().find(|host| host.module == module && host.name == name)
    }
}

/// Whether this is an integer comparison whose answer goes straight to an operator that decides by it.
fn decides(op: &Operator<'_>, next: Option<&Operator<'_>>) -> bool {
    use Operator::{BrIf, If, Select, TypedSelect};
    let asked = matches!(next, Some(BrIf { .. } | If { .. } | Select | TypedSelect { .. }));
    asked && Class::of(CostTable::name(op)) == Class::IntTest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_operators_and_proposals_exist_under_the_names_used_here() {
        let free = CostTable::operators().filter(|name| Class::of(name) == Class::Free);
        assert_eq!(free.count(), 8);
        for proposal in PROPOSALS {
            assert!(NAMES.iter().any(|(name, _)| *name == proposal), "{proposal}");
        }
        for class in Class::ALL {
            assert!(CostTable::operators().any(|name| Class::of(name) == class), "{class:?}");
        }
    }

    #[test]
    fn weights_follow_the_operator() {
        let table = CostTable::v1();
        assert_eq!(table.operator(&Operator::I32Add, Context::default()), 1);
        assert_eq!(table.operator(&Operator::Nop, Context::default()), 0);
        assert_eq!(table.operator(&Operator::MemoryGrow { mem: 0 }, Context::default()), 1);
        assert_eq!(table.unit(Unit::MemoryGrow), 0);
        assert_eq!(table.unit(Unit::TableGrow), 1);
        assert_eq!(CostTable::name(&Operator::I32Add), "I32Add");
    }

    #[test]
    fn fitted_weights_leave_nothing_out() {
        let table = CostTable::v3();
        assert_eq!(table.version(), 3);
        for class in Class::ALL {
            let weighed =
                fitted::CLASSES.iter().any(|(listed, weight)| *listed == class && *weight > 0);
            assert_eq!(weighed, class != Class::Free, "{class:?}");
        }
        assert!(Unit::ALL.iter().all(|unit| table.unit(*unit) > 0));
        let [read, environment, random] = ["fd_read", "environ_get", "random_get"]
            .map(|name| table.host("wasi_snapshot_preview1", name).unwrap());
        assert_eq!((read.byte, read.moved), (fitted::HOST_COPIED, Moved::Answered(3)));
        assert_eq!((random.byte, random.moved), (fitted::HOST_RANDOM, Moved::Given(1)));
        assert_eq!(environment.base, read.base + (fitted::HOST_COPIED << 16));
    }

    #[test]
    fn every_weight_has_its_bounds() {
        let host = HostCost {
            module: "m",
            name: "n",
            base: u32::MAX,
            byte: u32::MAX,
            moved: Moved::Given(1),
        };
        let table = |weight: u32| {
            CostTable::new(
                9,
                &Weights {
                    function: weight,
                    operator: &|_| weight,
                    deciding: weight,
                    back: weight,
                    unit: &|_| weight,
                    hosts: &[host],
                },
            )
        };
        let (least, most) = (table(0), table(u32::MAX));
        let jump = Operator::Br { relative_depth: 0 };
        assert_eq!((least.function(), most.function()), (1, MAX_WEIGHT));
        assert_eq!(
            (least.operator(&jump, Context::default()), most.operator(&jump, Context::default())),
            (1, MAX_WEIGHT)
        );
        let add = Operator::I32Add;
        assert_eq!(
            (least.operator(&add, Context::default()), most.operator(&add, Context::default())),
            (0, MAX_WEIGHT)
        );
        let decided = |table: &CostTable| {
            table
                .operator(&Operator::I32Eqz, Context { next: Some(&Operator::Select), back: false })
        };
        assert_eq!((decided(&least), decided(&most)), (0, MAX_WEIGHT));
        let again = |table: &CostTable| {
            let branch = Operator::BrIf { relative_depth: 0 };
            table.operator(&branch, Context { next: None, back: true })
        };
        assert_eq!((again(&least), again(&most)), (1, MAX_WEIGHT));
        assert_eq!(most.unit(Unit::MemoryFill), MAX_WEIGHT);
        let host = least.host("m", "n").unwrap();
        assert_eq!((host.base, host.byte), (MAX_WEIGHT, MAX_WEIGHT));
        assert_eq!(least.host("m", "other"), None);
        assert_ne!(least.hash(), most.hash());
        assert!(least.text().ends_with("host m n 4194304 4194304 Given(1)\n"));
    }

    #[test]
    fn where_an_operator_stands_can_change_its_weight() {
        let operator = |name: &str| if Class::of(name) == Class::IntTest { 7 } else { 1 };
        let weights = Weights {
            function: 1,
            operator: &operator,
            deciding: 3,
            back: 2,
            unit: &|_| 1,
            hosts: &[],
        };
        let table = CostTable::new(9, &weights);
        let before = |next| Context { next: Some(next), back: false };
        let branch = Operator::BrIf { relative_depth: 0 };
        let then = Operator::If { blockty: wasmparser::BlockType::Empty };
        let typed = Operator::TypedSelect { ty: wasmparser::ValType::I32 };
        for next in [&branch, &then, &typed, &Operator::Select] {
            assert_eq!(table.operator(&Operator::I64LtU, before(next)), 3);
            assert_eq!(table.operator(&Operator::F64Lt, before(next)), 1);
            assert_eq!(table.operator(&Operator::I32Add, before(next)), 1);
        }
        for next in [&Operator::I32Eqz, &Operator::Br { relative_depth: 0 }, &Operator::End] {
            assert_eq!(table.operator(&Operator::I64LtU, before(next)), 7);
        }
        assert_eq!(table.operator(&Operator::I64LtU, Context::default()), 7);
        let back = Context { next: None, back: true };
        assert_eq!(
            (table.operator(&branch, back), table.operator(&branch, Context::default())),
            (2, 1)
        );
        assert_eq!(table.operator(&Operator::I32Add, back), 1);
        assert!(table.text().contains("\ndeciding 3\nback 2\n"));
    }
}
