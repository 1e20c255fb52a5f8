//! Where the meter's own things stand: always after everything of the guest's.

use super::nan::SCRAMBLED;
use crate::Slices;
use crate::inspect::{Facts, Helper, Segment, Shapes, count};
use std::collections::BTreeMap;
use wasm_encoder::ValType;

/// Indices of what the meter appends, in the index spaces of the new module.
#[derive(Debug)]
pub(super) struct Layout {
    imports: u32,
    thunks: u32,
    pub globals: Globals,
    pub hooks: u32,
    /// The memory of [`crate::abi::CONTROL`], where slices are polled.
    pub control: Option<u32>,
    pub runtime: Runtime,
    helpers: BTreeMap<Helper, u32>,
    /// The first function of a scrambler, in tests.
    scramblers: Option<u32>,
    /// Of a module in steps: the globals that say which segments were dropped.
    flags: BTreeMap<Segment, u32>,
    /// Of a module in steps: the first global and the first function behind all others.
    pub state: State,
}

/// Where what a module in steps gets stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// The first function.
    pub functions: u32,
    /// The constants: number of data segments, number of element segments.
    pub counts: u32,
}

/// The meter's globals, in the order in which they are appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Globals {
    pub mark: u32,
    pub count: u32,
    pub limit: u32,
    pub stack: u32,
    pub pages: u32,
    pub entries: u32,
    pub cause: u32,
    pub integral: u32,
    pub grown: u32,
    /// State of the scrambler; only there in tests.
    pub random: u32,
}

/// The meter's functions that every module gets, in the order in which they are appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runtime {
    /// `(cause i32)`: records it and stops.
    pub stop: u32,
    /// `()`: sets the fuel to the limit and stops.
    pub exhaust: u32,
    /// `(count i64) -> count i64`: the way taken when the count has passed the mark.
    pub slow: u32,
    /// `()`: takes the slow way if the flushed count has passed the mark.
    pub check: u32,
    /// `(cost i64)`: stops if the limit does not cover the cost.
    pub afford: u32,
    /// `(cost i64)`: adds to the flushed count and checks it.
    pub pay: u32,
    /// `(count i64)`: the guest's `unreachable`.
    pub unreachable: u32,
    /// `()`: the stack budget is used up.
    pub overflow: u32,
    /// `(fuel i64)`: the fuel is above the bound, which is the limit or the host's.
    pub bounded: u32,
    /// `(pages i32)`: adds the fuel since the last growth, times the pages it had, to the integral.
    pub sum: u32,
}

impl Runtime {
    pub const COUNT: u32 = 10;
}

impl Layout {
    pub(super) fn new(facts: &Facts, slices: Slices) -> Self {
        let thunks = facts.function_count();
        let first = thunks + facts.import_count();
        let base = first + Runtime::COUNT;
        let after_helpers = base + count(facts.helpers.len());
        let globals = Globals::after(facts.globals);
        let (scramblers, random) = match facts.options.scramble {
            Some(_) => (count(SCRAMBLED.len()), 1),
            None => (0, 0),
        };
        let first_flag = globals.random + random;
        let drops = facts.steps.are_whole().then_some(&facts.state.drops);
        let flags: BTreeMap<_, _> =
            drops.into_iter().flatten().copied().zip(first_flag..).collect();
        let state = State {
            functions: after_helpers + scramblers,
            counts: first_flag + count(flags.len()),
        };
        Self {
            imports: facts.import_count(),
            thunks,
            globals,
            flags,
            state,
            hooks: u32::from(facts.table.is_some()),
            control: (slices == Slices::Poll).then_some(u32::from(facts.memory.is_some())),
            runtime: Runtime::after(first),
            helpers: facts.helpers.iter().copied().zip(base..).collect(),
            scramblers: facts.options.scramble.map(|_| after_helpers),
        }
    }

    /// The new index of a guest's function: an import is only reached through its thunk.
    pub(super) fn function(&self, index: u32) -> u32 {
        if index < self.imports { self.thunks + index } else { index }
    }

    /// The global that says whether a segment was dropped, of a module in steps.
    pub(super) fn flag(&self, segment: Segment) -> Option<u32> {
        self.flags.get(&segment).copied()
    }

    /// The function that stands in for an operator, if the first pass asked for one.
    pub(super) fn helper(&self, helper: Helper) -> Option<u32> {
        self.helpers.get(&helper).copied()
    }
}

impl Layout {
    /// The function that scrambles the NaNs of a shape, in tests.
    pub(super) fn scrambler(&self, shape: Shapes) -> Option<u32> {
        let position = SCRAMBLED.iter().position(|known| *known == shape)?;
        Some(self.scramblers? + count(position))
    }
}

impl Globals {
    fn after(first: u32) -> Self {
        Self {
            mark: first,
            count: first + 1,
            limit: first + 2,
            stack: first + 3,
            pages: first + 4,
            entries: first + 5,
            cause: first + 6,
            integral: first + 7,
            grown: first + 8,
            random: first + 9,
        }
    }
}

impl Runtime {
    fn after(first: u32) -> Self {
        Self {
            stop: first,
            exhaust: first + 1,
            slow: first + 2,
            check: first + 3,
            afford: first + 4,
            pay: first + 5,
            unreachable: first + 6,
            overflow: first + 7,
            bounded: first + 8,
            sum: first + 9,
        }
    }
}

/// The function types the meter appends, each once.
#[derive(Debug)]
pub(super) struct Types {
    first: u32,
    added: Vec<(Vec<ValType>, Vec<ValType>)>,
}

impl Types {
    pub(super) fn new(facts: &Facts) -> Self {
        Self { first: count(facts.types.len()), added: Vec::new() }
    }

    /// The index of a type, appended if it is new.
    pub(super) fn intern(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        let known = self.added.iter().position(|(p, r)| p == params && r == results);
        let position = known.unwrap_or_else(|| {
            self.added.push((params.to_vec(), results.to_vec()));
            self.added.len() - 1
        });
        self.first + count(position)
    }

    pub(super) fn added(&self) -> impl Iterator<Item = &(Vec<ValType>, Vec<ValType>)> {
        self.added.iter()
    }
}
