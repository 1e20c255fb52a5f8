//! Where a function pays: segments of straight-line code and the charges before them.
//!
//! A *segment* is a run of operators entered only at its top and left only at its bottom (a trap
//! aside). Its whole weight is charged on entry. An `end` to which no branch leads ends no segment,
//! nor does that of a loop, whose label is at its top.

use super::body::{Op, helper};
use super::{Helper, count};
use crate::abi;
use crate::cost::{Context, CostTable, Unit};
use std::collections::BTreeSet;
use wasmparser::Operator;

/// A charge, standing before the operator `at` (an index into the body's operators).
#[derive(Debug)]
pub(crate) struct Charge {
    pub at: u32,
    /// What is added to the counter; below 0 only once charges have been moved.
    pub cost: i64,
    /// How far the counter is ahead after it: what a look compares with. See [`super::ahead`].
    pub ahead: i64,
    pub kind: ChargeKind,
}

impl Charge {
    fn new(at: u32, kind: ChargeKind) -> Self {
        Self { at, cost: 0, ahead: 0, kind }
    }
}

/// How a charge is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChargeKind {
    /// At function entry: takes the counter from the global and checks it.
    Entry,
    /// At a loop header: checks the counter.
    Header,
    /// After a call: takes the counter from the global.
    Resume,
    /// Anywhere else.
    Plain,
}

/// What a function pays, and what it needs for that.
#[derive(Debug)]
pub(super) struct Charges {
    /// In the order of their operators, at most one for each.
    pub charges: Vec<Charge>,
    /// Operators left in place although a helper exists, since their constant length was charged.
    pub inline: Vec<u32>,
    /// Whether it calls nothing of the guest's and no import.
    pub leaf: bool,
    pub helpers: BTreeSet<Helper>,
    /// What is known of each `end`; of other operators nothing.
    pub ends: Vec<Ends>,
}

/// An `end` and the ways that lead there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends {
    /// Where its block begins; nowhere for the function's.
    pub open: Option<usize>,
    /// Whether ways meet there. A loop's label is at its top.
    pub join: bool,
    /// Whether one of them is that of a `br_table`.
    pub table: bool,
    /// For a branch: whether it leads to the top of a loop.
    pub back: bool,
}

/// Plans the charges of a function.
pub(super) fn charges(ops: &[Op<'_>], costs: &CostTable) -> Charges {
    let mut pass = Pass {
        costs,
        done: Charges {
            charges: Vec::new(),
            inline: Vec::new(),
            leaf: true,
            helpers: BTreeSet::new(),
            ends: ends(ops),
        },
        open: Charge { cost: costs.function().into(), ..Charge::new(0, ChargeKind::Entry) },
        constant: None,
    };
    for (at, op) in (0..).zip(ops) {
        pass.operator(at, op, ops.get(at as usize + 1));
    }
    pass.close(count(ops.len()), ChargeKind::Plain);
    pass.done
}

fn ends(ops: &[Op<'_>]) -> Vec<Ends> {
    let mut ends = vec![Ends::default(); ops.len()];
    let mut open = vec![Ends { join: true, ..Ends::default() }];
    for (at, op) in ops.iter().enumerate() {
        let mut reach = |depth: u32, table: bool| {
            let target = open.len().checked_sub(depth as usize + 1);
            let Some(target) = target.and_then(|target| open.get_mut(target)) else { return false };
            target.join |= op.live;
            target.table |= op.live && table;
            target.open.is_some_and(|at| matches!(ops[at].op, Operator::Loop { .. }))
        };
        match &op.op {
            Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => {
                ends[at].back = reach(*relative_depth, false);
            }
            Operator::BrTable { targets } => {
                targets.targets().flatten().for_each(|target| _ = reach(target, true));
                reach(targets.default(), true);
            }
            Operator::Block { .. } | Operator::Loop { .. } => {
                open.push(Ends { open: Some(at), ..Ends::default() });
            }
            Operator::If { .. } => {
                open.push(Ends { open: Some(at), join: true, ..Ends::default() });
            }
            Operator::End => {
                let mut end = open.pop().unwrap_or_default();
                let begin = end.open.map(|open| &ops[open].op);
                end.join &= !matches!(begin, Some(Operator::Loop { .. }));
                ends[at] = end;
            }
            _ => {}
        }
    }
    ends
}

struct Pass<'a> {
    costs: &'a CostTable,
    done: Charges,
    open: Charge,
    /// The operand on top of the stack, when the last operator was an `i32.const`.
    constant: Option<u32>,
}

impl Pass<'_> {
    fn operator(&mut self, at: u32, op: &Op<'_>, next: Option<&Op<'_>>) {
        if op.live {
            let back = self.done.ends[at as usize].back;
            let place = Context { next: next.map(|op| &op.op), back };
            self.open.cost += i64::from(self.costs.operator(&op.op, place));
        }
        self.segment(at, &op.op);
        self.constant = match op.op {
            Operator::I32Const { value } => Some(value.cast_unsigned()),
            _ => None,
        };
    }

    /// Ends the open segment where the operator leaves straight-line code.
    fn segment(&mut self, at: u32, op: &Operator<'_>) {
        match op {
            Operator::Loop { .. } => self.close(at + 1, ChargeKind::Header),
            Operator::End if !self.done.ends[at as usize].join => {}
            Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Unreachable => self.close(at + 1, ChargeKind::Plain),
            Operator::Call { .. } | Operator::CallIndirect { .. } => {
                self.done.leaf = false;
                self.close(at + 1, ChargeKind::Resume);
            }
            _ => {
                if let Some((helper, unit)) = helper(op) {
                    self.helper(at, helper, unit);
                }
            }
        }
    }

    fn helper(&mut self, at: u32, helper: Helper, unit: Unit) {
        let grows = matches!(helper, Helper::MemoryGrow | Helper::TableGrow);
        match self.constant {
            Some(length) if length <= abi::INLINE_LENGTH && !grows => {
                self.open.cost += i64::from(length) * i64::from(self.costs.unit(unit));
                self.done.inline.push(at);
            }
            _ => {
                self.done.helpers.insert(helper);
                self.close(at + 1, ChargeKind::Resume);
            }
        }
    }

    fn close(&mut self, at: u32, kind: ChargeKind) {
        let next = Charge::new(at, kind);
        let done = std::mem::replace(&mut self.open, next);
        // A segment that costs nothing still has to load or check the counter.
        if done.cost > 0 || done.kind != ChargeKind::Plain {
            self.done.charges.push(done);
        }
    }
}
