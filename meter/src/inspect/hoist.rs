//! Loops whose number of rounds is known when they begin.
//!
//! Such a loop is straight-line code that ends by adding a constant to a local and comparing it with
//! something that does not change. If all its rounds fit before the next look at the count they are paid at
//! once, and a copy without charges runs; else as many rounds as fit, then one round the plain way, which
//! looks. The count is only ever paid ahead while no look would have happened, so nothing can tell: not
//! at a trap, where the local count is lost, and not at an exhaustion.

use super::body::{Op, helper};
use super::charges::{Charge, ChargeKind};
use super::count;
use wasmparser::{BlockType, Operator, ValType};

/// Longer loops gain too little from it to be written twice.
const MOST_OPERATORS: usize = 128;
/// What a round may cost: 2³² rounds of it stay below 2⁶².
const MOST_COST: u64 = 1 << 29;

/// A loop to be paid before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hoist {
    /// Its `loop` and `end` operators; the branch back stands directly before the `end`.
    pub start: u32,
    pub end: u32,
    /// What a round costs.
    pub cost: u64,
    /// The local that is counted, an i32, and what a round adds to it; never 0.
    pub counter: u32,
    pub step: i32,
    /// What it is compared with, and how: the loop goes on while this holds.
    pub bound: Bound,
    pub compare: Compare,
    /// The operators that push the bound and compare; none if the counter itself is the condition.
    pub bound_at: Option<u32>,
    pub compare_at: Option<u32>,
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
pub(super) fn hoists(ops: &[Op<'_>], charges: &[Charge], types: &[ValType]) -> Vec<Hoist> {
    let mut hoists = Vec::new();
    let mut start = None;
    for (at, op) in ops.iter().enumerate() {
        match op.op {
            Operator::Loop { blockty: BlockType::Empty } if op.live => start = Some(at),
            Operator::End => {
                if let Some(start) = start.take() {
                    hoists.extend(Loop { ops, start, end: at, types }.hoist(charges));
                }
            }
            // Anything else that has an inside, or leaves: not a straight line.
            ref op if !is_straight(op) => start = start.filter(|_| is_branch_back(ops, at)),
            _ => {}
        }
    }
    hoists
}

/// Whether the operator is the branch back of a loop that ends with it.
fn is_branch_back(ops: &[Op<'_>], at: usize) -> bool {
    matches!(ops[at].op, Operator::BrIf { relative_depth: 0 })
        && ops.get(at + 1).is_some_and(|next| matches!(next.op, Operator::End))
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
    end: usize,
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
        (at > self.start && at < self.end).then(|| &self.ops[at].op)
    }

    fn hoist(&self, charges: &[Charge]) -> Option<Hoist> {
        let branch = self.end - 1;
        if self.end - self.start > MOST_OPERATORS || !is_branch_back(self.ops, branch) {
            return None;
        }
        let cost = self.cost(charges)?;
        let condition = self.condition(branch)?;
        let (counter, step) = (condition.counter, self.step(condition.counter)?);
        let (bound_at, bound) = condition.bound.unzip();
        let compare = match condition.compare {
            None => Compare::Unequal,
            Some((at, swapped)) => compare(&self.ops[at].op, swapped, step)?,
        };
        Some(Hoist {
            start: count(self.start),
            end: count(self.end),
            cost,
            counter,
            step,
            bound: bound.unwrap_or(Bound::Const(0)),
            compare,
            bound_at: bound_at.map(count),
            compare_at: condition.compare.map(|(at, _)| count(at)),
        })
    }

    /// The cost of a round, if one charge at the header pays all of it.
    fn cost(&self, charges: &[Charge]) -> Option<u64> {
        let from = charges.partition_point(|charge| (charge.at as usize) <= self.start);
        let mut inside = charges[from..].iter().take_while(|c| (c.at as usize) < self.end);
        let header = inside.next().filter(|charge| charge.kind == ChargeKind::Header)?;
        (inside.next().is_none() && (1..MOST_COST).contains(&header.cost)).then_some(header.cost)
    }

    fn condition(&self, branch: usize) -> Option<Condition> {
        let last = branch.checked_sub(1)?;
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
        self.ops[self.start..self.end].iter().filter(sets).count()
    }

    /// What the only assignment to the counter adds to it.
    fn step(&self, counter: u32) -> Option<i32> {
        let set = (self.start..self.end).find(|at| match self.ops[*at].op {
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                local_index == counter
            }
            _ => false,
        })?;
        let first = set.checked_sub(3)?;
        let three = (self.op(first)?, self.op(first + 1)?, self.op(first + 2)?);
        let step = match three {
            (Operator::LocalGet { local_index }, Operator::I32Const { value }, last)
            | (Operator::I32Const { value }, Operator::LocalGet { local_index }, last)
                if *local_index == counter =>
            {
                match last {
                    Operator::I32Add => *value,
                    Operator::I32Sub if matches!(three.0, Operator::LocalGet { .. }) => {
                        value.checked_neg()?
                    }
                    _ => return None,
                }
            }
            _ => return None,
        };
        (step != 0 && step != i32::MIN).then_some(step)
    }
}

/// How the loop goes on, if the comparison and the sign of the step lead to an end.
fn compare(op: &Operator<'_>, swapped: bool, step: i32) -> Option<Compare> {
    let ordered = |below: bool, signed, equal| {
        (below != swapped).eq(&(step > 0)).then_some(Compare::Ordered { signed, equal })
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
