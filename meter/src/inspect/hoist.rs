//! Loops whose number of rounds is known when they begin.
//!
//! Such a loop leads only forward, or out, until it ends by adding a constant to a local and comparing it with
//! something that does not change. If all its rounds fit before the next look at the count they are paid at
//! once, and a copy without charges runs; else as many rounds as fit, then one round the plain way, which
//! looks. The count is only ever paid ahead while no look would have happened, so nothing can tell: not
//! at a trap, where the local count is lost, and not at an exhaustion. A branch that leaves the loop gives back what
//! was paid for rounds that did not begin. What a round pays on some ways only is paid on those ways.

use super::ahead::Moved;
use super::body::{Op, helper};
use super::charges::ChargeKind;
use super::count;
use std::cmp::Ordering;
use wasmparser::{BlockType, Operator, ValType};

/// Longer loops gain too little from it to be written twice.
const MOST_OPERATORS: usize = 128;
/// What a round may cost: 2³² rounds of it stay below 2⁶².
const MOST_COST: u64 = 1 << 29;

/// A loop to be paid before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hoist {
    /// Its `loop` operator and its only branch back.
    pub start: u32,
    pub branch: u32,
    /// What every round costs, and what none costs more than.
    pub cost: u64,
    pub most: u64,
    /// The local that is counted, an i32, and what a round adds to it; never 0.
    pub counter: u32,
    pub step: Step,
    /// The operator that assigns it.
    pub set: u32,
    /// What it is compared with, and how: the loop goes on while this holds.
    pub bound: Bound,
    pub compare: Compare,
    /// The operators that push the bound and compare; none if the counter itself is the condition.
    pub bound_at: Option<u32>,
    pub compare_at: Option<u32>,
}

/// What a round adds to the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Never 0 nor the smallest number.
    Const(i32),
    /// A local that the loop does not assign, or `minus` it. Whether the step must be above or below 0, for
    /// the loop to be paid ahead, follows from the comparison.
    Local { local: u32, minus: bool, up: bool },
}

impl Step {
    pub(crate) fn is_up(self) -> bool {
        match self {
            Self::Const(step) => step > 0,
            Self::Local { up, .. } => up,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Const(i32),
    Local(u32),
}

/// The counter on the left, the bound on the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Unequal,
    /// Above or below by the step's sign, signed or not, with equality or not.
    Ordered {
        signed: bool,
        equal: bool,
    },
}

/// Finds the loops of a function that can be paid ahead.
pub(super) fn hoists(ops: &[Op<'_>], moved: &Moved, types: &[ValType]) -> Vec<Hoist> {
    let starts = ops
        .iter()
        .enumerate()
        .filter(|(_, op)| op.live && matches!(op.op, Operator::Loop { blockty: BlockType::Empty }));
    starts
        .filter_map(|(start, _)| {
            let branch = branch_back(ops, moved, start)?;
            Loop { ops, start, branch, types }.hoist(moved)
        })
        .collect()
}

/// The only branch back of a loop whose inside leads only forward up to it, and does not come back after it.
fn branch_back(ops: &[Op<'_>], moved: &Moved, start: usize) -> Option<usize> {
    let mut nest = 0_u32;
    let mut branch = None;
    for (at, op) in ops.iter().enumerate().skip(start + 1).take(MOST_OPERATORS) {
        match op.op {
            Operator::Block { .. } | Operator::If { .. } => nest += 1,
            Operator::End => nest = nest.checked_sub(1)?,
            Operator::BrIf { relative_depth: 0 } if nest == 0 && op.live => {
                branch = Some(at);
                break;
            }
            _ if leads_on(moved, at, &op.op, nest) => {}
            _ => return None,
        }
    }
    let branch = branch?;
    let mut rest = ops.iter().skip(branch + 1).take(MOST_OPERATORS);
    let leaves = |op: &Operator<'_>| match op {
        Operator::Br { relative_depth } => *relative_depth > 0,
        other => matches!(other, Operator::Return | Operator::Unreachable),
    };
    let last = rest.find(|op| !is_straight(&op.op) && !leaves(&op.op))?;
    matches!(last.op, Operator::End).then_some(branch)
}

/// Whether an operator inside of so many blocks of a loop leads forward or out, and pays on its way out.
fn leads_on(moved: &Moved, at: usize, op: &Operator<'_>, nest: u32) -> bool {
    let pays = || moved.edges.binary_search_by_key(&count(at), |edge| edge.at).is_ok();
    match op {
        Operator::Else | Operator::Return | Operator::Unreachable => true,
        Operator::Br { relative_depth } => *relative_depth != nest,
        Operator::BrIf { relative_depth } => match relative_depth.cmp(&nest) {
            Ordering::Less => true,
            Ordering::Equal => false,
            Ordering::Greater => pays(),
        },
        Operator::BrTable { targets } => {
            let inside = |target: u32| target < nest;
            inside(targets.default()) && targets.targets().flatten().all(inside)
        }
        other => is_straight(other),
    }
}

fn is_straight(op: &Operator<'_>) -> bool {
    let control = matches!(
        op,
        Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Unreachable
            | Operator::Call { .. }
            | Operator::CallIndirect { .. }
    );
    !control && helper(op).is_none()
}

struct Loop<'a> {
    ops: &'a [Op<'a>],
    start: usize,
    branch: usize,
    types: &'a [ValType],
}

/// The operators between the step and the branch back.
struct Condition {
    counter: u32,
    bound: Option<(usize, Bound)>,
    compare: Option<(usize, bool)>,
}

impl Loop<'_> {
    fn op(&self, at: usize) -> Option<&Operator<'_>> {
        (at > self.start && at < self.branch).then(|| &self.ops[at].op)
    }

    fn hoist(&self, moved: &Moved) -> Option<Hoist> {
        let (cost, most) = self.cost(moved)?;
        let condition = self.condition()?;
        let counter = condition.counter;
        let (set, mut step) = self.step(counter)?;
        let (bound_at, bound) = condition.bound.unzip();
        let compare = match condition.compare {
            None => Compare::Unequal,
            Some((at, swapped)) => compare(&self.ops[at].op, swapped, &mut step)?,
        };
        if compare == Compare::Unequal && matches!(step, Step::Local { .. }) {
            return None;
        }
        Some(Hoist {
            start: count(self.start),
            branch: count(self.branch),
            cost,
            most,
            counter,
            step,
            set: count(set),
            bound: bound.unwrap_or(Bound::Const(0)),
            compare,
            bound_at: bound_at.map(count),
            compare_at: condition.compare.map(|(at, _)| count(at)),
        })
    }

    /// The cost of a round that the header's charge pays, and with all that is paid elsewhere in it.
    fn cost(&self, moved: &Moved) -> Option<(u64, u64)> {
        let charges = &moved.charges;
        let from = charges.partition_point(|charge| (charge.at as usize) <= self.start);
        let mut inside = charges[from..].iter().take_while(|c| (c.at as usize) <= self.branch);
        let header = inside.next().filter(|charge| charge.kind == ChargeKind::Header)?;
        let most = inside.map(|charge| charge.cost.max(0)).fold(header.cost, i64::saturating_add);
        let (cost, most) = (u64::try_from(header.cost).ok()?, u64::try_from(most).ok()?);
        (cost >= 1 && most < MOST_COST).then_some((cost, most))
    }

    fn condition(&self) -> Option<Condition> {
        let last = self.branch.checked_sub(1)?;
        // The condition is the counter itself,
        if let Some(counter) = self.counter(last) {
            return Some(Condition { counter, bound: None, compare: None });
        }
        let before = last.checked_sub(1)?;
        // or it is compared with a bound that was pushed after it,
        if let Some(bound) = self.bound(before)
            && let Some(counter) = before.checked_sub(1).and_then(|at| self.counter(at))
        {
            let bound = Some((before, bound));
            return Some(Condition { counter, bound, compare: Some((last, false)) });
        }
        // or before it.
        let counter = self.counter(before)?;
        let steps = if matches!(self.op(before)?, Operator::LocalTee { .. }) { 4 } else { 1 };
        let at = before.checked_sub(steps)?;
        let bound = Some((at, self.bound(at)?));
        Some(Condition { counter, bound, compare: Some((last, true)) })
    }

    /// The local whose value the operator leaves on the stack.
    fn counter(&self, at: usize) -> Option<u32> {
        let (Operator::LocalGet { local_index } | Operator::LocalTee { local_index }) =
            *self.op(at)?
        else {
            return None;
        };
        (self.types.get(local_index as usize) == Some(&ValType::I32) && self.sets(local_index) == 1)
            .then_some(local_index)
    }

    fn bound(&self, at: usize) -> Option<Bound> {
        match *self.op(at)? {
            Operator::I32Const { value } => Some(Bound::Const(value)),
            Operator::LocalGet { local_index } if self.sets(local_index) == 0 => {
                Some(Bound::Local(local_index))
            }
            _ => None,
        }
    }

    fn sets(&self, local: u32) -> usize {
        let sets = |op: &&Op<'_>| match op.op {
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                local_index == local
            }
            _ => false,
        };
        self.ops[self.start..self.branch].iter().filter(sets).count()
    }

    /// How many blocks of the loop an operator is in.
    fn nest(&self, at: usize) -> usize {
        self.ops[self.start + 1..at].iter().fold(0_usize, |nest, op| match op.op {
            Operator::Block { .. } | Operator::If { .. } => nest + 1,
            Operator::End => nest.saturating_sub(1),
            _ => nest,
        })
    }

    /// The only assignment to the counter, and what it adds to it.
    fn step(&self, counter: u32) -> Option<(usize, Step)> {
        let set = (self.start..self.branch).find(|at| match self.ops[*at].op {
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                local_index == counter
            }
            _ => false,
        })?;
        let first = set.checked_sub(3)?;
        // What is assigned in a block may not be assigned in every round.
        (self.nest(set) == 0).then_some(())?;
        let three = (self.op(first)?, self.op(first + 1)?, self.op(first + 2)?);
        let (other, swapped) = match three {
            (Operator::LocalGet { local_index }, other, _) if *local_index == counter => {
                (other, false)
            }
            (other, Operator::LocalGet { local_index }, _) if *local_index == counter => {
                (other, true)
            }
            _ => return None,
        };
        let step = match (other, three.2) {
            (Operator::I32Const { value }, Operator::I32Add) => Step::Const(*value),
            (Operator::I32Const { value }, Operator::I32Sub) if !swapped => {
                Step::Const(value.checked_neg()?)
            }
            (Operator::LocalGet { local_index }, Operator::I32Add)
                if self.sets(*local_index) == 0 =>
            {
                Step::Local { local: *local_index, minus: false, up: true }
            }
            (Operator::LocalGet { local_index }, Operator::I32Sub)
                if !swapped && self.sets(*local_index) == 0 =>
            {
                Step::Local { local: *local_index, minus: true, up: true }
            }
            _ => return None,
        };
        (!matches!(step, Step::Const(0 | i32::MIN))).then_some((set, step))
    }
}

/// How the loop goes on, if the comparison and the sign of the step lead to an end. A step whose sign is
/// not known gets the one that does.
fn compare(op: &Operator<'_>, swapped: bool, step: &mut Step) -> Option<Compare> {
    let mut ordered = |below: bool, signed, equal| {
        if let Step::Local { up, .. } = step {
            *up = below != swapped;
        }
        (below != swapped).eq(&step.is_up()).then_some(Compare::Ordered { signed, equal })
    };
    match op {
        Operator::I32Ne => Some(Compare::Unequal),
        Operator::I32LtU => ordered(true, false, false),
        Operator::I32LtS => ordered(true, true, false),
        Operator::I32LeU => ordered(true, false, true),
        Operator::I32LeS => ordered(true, true, true),
        Operator::I32GtU => ordered(false, false, false),
        Operator::I32GtS => ordered(false, true, false),
        Operator::I32GeU => ordered(false, false, true),
        Operator::I32GeS => ordered(false, true, true),
        _ => None,
    }
}
