//! How often a guest does what has a weight.
//!
//! The meter itself counts: by a table in which one thing weighs one more than in another table,
//! the difference in fuel is the number of times it was done.

use std::collections::BTreeSet;

use tallymill_meter::{Class, CostTable, Unit, Weights};
use tallymill_sandbox::TaskSpec;
use wasmparser::{Parser, Payload};

use crate::guest::{Bench, Metered};

/// Something that a table gives a weight to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Entering a function.
    Function,
    /// An operator of this class.
    Class(Class),
    /// An integer comparison that decides.
    Deciding,
    /// A `br_if` to the top of a loop.
    Back,
    /// A byte, page or element of work paid by length.
    Unit(Unit),
}

/// Everything that has a weight, but what generates no code.
pub(super) fn parts() -> Vec<Part> {
    let classes = Class::ALL.into_iter().filter(|class| *class != Class::Free).map(Part::Class);
    let units = Unit::ALL.into_iter().map(Part::Unit);
    [Part::Function, Part::Deciding, Part::Back].into_iter().chain(classes).chain(units).collect()
}

/// Whether a table cannot give it a weight of 0.
fn always_paid(part: Part) -> bool {
    matches!(
        part,
        Part::Function
            | Part::Back
            | Part::Class(
                Class::Jump | Class::Branch | Class::BrTable | Class::Call | Class::CallIndirect
            )
    )
}

/// A table by these weights; it stays for the rest of the program, as the meter wants.
pub(super) fn table(weight: impl Fn(Part) -> u32) -> &'static CostTable {
    let operator = |name: &str| match Class::of(name) {
        Class::Free => 0,
        class => weight(Part::Class(class)),
    };
    let weights = Weights {
        function: weight(Part::Function),
        operator: &operator,
        deciding: weight(Part::Deciding),
        back: weight(Part::Back),
        unit: &|unit| weight(Part::Unit(unit)),
        hosts: &[],
    };
    Box::leak(Box::new(CostTable::new(0, &weights)))
}

/// Tables that differ from the first in one part each, in the order of [`parts`].
pub(super) struct Counter {
    base: &'static CostTable,
    each: Vec<&'static CostTable>,
}

impl Counter {
    pub(super) fn new() -> Self {
        let base = |part| u32::from(always_paid(part));
        let one_more = |more| table(move |part| base(part) + u32::from(part == more));
        Self { base: table(base), each: parts().into_iter().map(one_more).collect() }
    }

    /// How often the run of a task does each of [`parts`].
    pub(super) fn count(
        &self,
        bench: &Bench,
        module: &[u8],
        tasks: &[&TaskSpec],
    ) -> anyhow::Result<Vec<Vec<u64>>> {
        let fuel = |costs| -> anyhow::Result<Vec<u64>> {
            let metered = Metered::new(bench, module, costs)?;
            tasks.iter().map(|task| Ok(metered.run(task)?.fuel)).collect()
        };
        let base = fuel(self.base)?;
        let present = operators(module)?;
        let mut counts = vec![Vec::new(); tasks.len()];
        for (part, costs) in parts().into_iter().zip(&self.each) {
            // A part that does not occur need not be counted, which saves most of the work.
            let all = if occurs(part, &present) { fuel(costs)? } else { base.clone() };
            for ((counts, more), base) in counts.iter_mut().zip(all).zip(&base) {
                counts.push(more - base);
            }
        }
        Ok(counts)
    }
}

/// The names of the operators in a module.
fn operators(module: &[u8]) -> anyhow::Result<BTreeSet<&'static str>> {
    let mut names = BTreeSet::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CodeSectionEntry(body) = payload? {
            for operator in body.get_operators_reader()? {
                names.insert(CostTable::name(&operator?));
            }
        }
    }
    Ok(names)
}

fn occurs(part: Part, present: &BTreeSet<&'static str>) -> bool {
    match part {
        Part::Function => true,
        Part::Back => present.contains("BrIf"),
        Part::Deciding => occurs(Part::Class(Class::IntTest), present),
        Part::Class(class) => present.iter().any(|name| Class::of(name) == class),
        // Units are called as the operators that are paid by them.
        Part::Unit(unit) => present.contains(format!("{unit:?}").as_str()),
    }
}
