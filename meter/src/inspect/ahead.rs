//! Charges moved to where they are made less often.
//!
//! By the contract every segment is charged when it is entered ([`super::charges`]). Inside a function only looks
//! at the count, calls and ways out can tell when that happens, so between them the counter may run
//! *ahead*: hold more than was used, by an amount that is known at each operator. What follows a place for certain
//! is paid there; a branch that leads elsewhere gives back the difference, if it is one that is hardly ever taken
//! (it leaves a loop, or leads to `unreachable`). Looks compare the counter with the amount it is ahead, so they
//! find something exactly when the contract says so. At calls and ways out the counter is never ahead.

use super::body::Op;
use super::charges::{Charge, ChargeKind, Ends};
use super::count;
use wasmparser::{BlockType, Operator};

/// What a branch adds to the counter if it is taken; mostly below 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// The `br_if`, an index into the body's operators.
    pub at: u32,
    pub cost: i64,
}

/// Where a function pays once its charges have been moved.
#[derive(Debug)]
pub(super) struct Moved {
    /// In the order of their operators, at most one for each.
    pub charges: Vec<Charge>,
    /// In the order of their operators.
    pub edges: Vec<Edge>,
}

/// Moves the charges of a function.
pub(super) fn ahead(ops: &[Op<'_>], charges: &[Charge], ends: &[Ends]) -> Moved {
    let done = Moved { charges: Vec::new(), edges: Vec::new() };
    let mut pass =
        Pass { ops, ends, left: charges, done, labels: Vec::new(), end: 0, hopeless: false };
    for (at, op) in ops.iter().enumerate().rev() {
        pass.operator(at, op);
    }
    let own = pass.segment(0);
    let entry = Charge { at: 0, cost: own + pass.end, ahead: pass.end, kind: ChargeKind::Entry };
    let mut done = pass.done;
    done.charges.push(entry);
    done.charges.sort_unstable_by_key(|charge| charge.at);
    done.edges.reverse();
    done
}

/// A label that branches inside of its block may lead to.
#[derive(Clone, Copy)]
struct Label {
    is_loop: bool,
    /// Whether branches to it take no values along.
    bare: bool,
    /// Whether no way leads from it but to an `unreachable`, past straight code and calls.
    hopeless: bool,
    /// How far the counter is ahead on every way to it.
    ahead: i64,
    /// Where the `else` of its block begins, and how far the counter has to be ahead there once it has paid.
    other: Option<(usize, i64)>,
}

/// Goes through a body from its end: what follows a place is known when it is reached.
struct Pass<'a> {
    ops: &'a [Op<'a>],
    ends: &'a [Ends],
    /// Charges of the contract that have not been met.
    left: &'a [Charge],
    done: Moved,
    labels: Vec<Label>,
    /// How far the counter is ahead at the end of the segment that the pass is in.
    end: i64,
    /// As [`Label::hopeless`], of where the pass is.
    hopeless: bool,
}

impl Pass<'_> {
    fn operator(&mut self, at: usize, op: &Op<'_>) {
        match op.op {
            Operator::End => return self.end(at),
            Operator::Block { .. } => {
                self.labels.pop();
                return;
            }
            Operator::Loop { .. } => self.header(at),
            Operator::If { .. } => self.branches(at),
            Operator::Else => self.other(at),
            Operator::Br { relative_depth } => self.leave(at, self.label(relative_depth).ahead),
            Operator::BrIf { relative_depth } => self.branch(at, relative_depth),
            Operator::BrTable { .. } | Operator::Return => self.leave(at, 0),
            Operator::Unreachable => {
                self.leave(at, 0);
                self.hopeless = true;
                return;
            }
            _ => return self.resume(at),
        }
        self.hopeless = false;
    }

    /// What the segment that begins at an operator costs.
    fn segment(&mut self, at: usize) -> i64 {
        match self.left.split_last() {
            Some((last, left)) if last.at as usize == at => {
                self.left = left;
                last.cost
            }
            _ => 0,
        }
    }

    fn charge(&mut self, at: usize, cost: i64, ahead: i64, kind: ChargeKind) {
        let live = self.ops.get(at).is_some_and(|op| op.live);
        if kind != ChargeKind::Plain || (live && cost != 0) {
            self.done.charges.push(Charge { at: count(at), cost, ahead, kind });
        }
    }

    fn label(&self, depth: u32) -> Label {
        let at = self.labels.len().checked_sub(depth as usize + 1);
        at.map_or(Label::FUNCTION, |at| self.labels[at])
    }

    fn end(&mut self, at: usize) {
        let ends = self.ends[at];
        let mut label = Label { is_loop: false, bare: false, ..Label::FUNCTION };
        if let Some(open) = ends.open {
            label.is_loop = matches!(self.ops[open].op, Operator::Loop { .. });
            label.bare = matches!(
                self.ops[open].op,
                Operator::Block { blockty: BlockType::Empty }
                    | Operator::Loop { blockty: BlockType::Empty }
                    | Operator::If { blockty: BlockType::Empty }
            );
        }
        if ends.join {
            let total = self.segment(at + 1) + self.end;
            // A `br_table` cannot pay on its ways, so all of them have to be alike.
            if ends.table {
                self.charge(at + 1, total, 0, ChargeKind::Plain);
                self.end = 0;
            } else {
                self.end = total;
            }
            label.ahead = self.end;
            label.hopeless = self.hopeless;
        }
        self.labels.push(label);
    }

    /// An operator that nothing goes past. What validation takes for reachable behind it may have a charge.
    fn leave(&mut self, at: usize, ahead: i64) {
        self.segment(at + 1);
        self.end = ahead;
    }

    fn header(&mut self, at: usize) {
        self.labels.pop();
        let own = self.segment(at + 1);
        self.charge(at + 1, own + self.end, self.end, ChargeKind::Header);
        self.end = 0;
    }

    /// An `if`: what both ways pay is paid before it.
    fn branches(&mut self, at: usize) {
        let label = self.labels.pop().unwrap_or(Label::FUNCTION);
        let total = self.segment(at + 1) + self.end;
        let both = match label.other {
            Some((other, cost)) => {
                let both = total.min(cost);
                self.charge(other, cost - both, 0, ChargeKind::Plain);
                both
            }
            None => label.ahead,
        };
        self.charge(at + 1, total - both, 0, ChargeKind::Plain);
        self.end = both;
    }

    fn other(&mut self, at: usize) {
        let total = self.segment(at + 1) + self.end;
        if let Some(label) = self.labels.last_mut() {
            label.other = Some((at + 1, total));
            self.end = label.ahead;
        }
    }

    fn branch(&mut self, at: usize, depth: u32) {
        let label = self.label(depth);
        let total = self.segment(at + 1) + self.end;
        if self.is_rare(at, depth, label) {
            self.done.edges.push(Edge { at: count(at), cost: label.ahead - total });
            self.end = total;
        } else {
            self.charge(at + 1, total - label.ahead, 0, ChargeKind::Plain);
            self.end = label.ahead;
        }
    }

    /// Whether a branch can pay on its way and is hardly ever taken.
    fn is_rare(&self, at: usize, depth: u32, label: Label) -> bool {
        let inner = self.labels.iter().rev().position(|label| label.is_loop);
        let leaves_loop = inner.is_some_and(|inner| depth as usize > inner);
        self.ops[at].live && label.bare && (label.hopeless || leaves_loop)
    }

    /// After a call the counter comes from where it was flushed.
    fn resume(&mut self, at: usize) {
        if let Some(last) = self.left.last()
            && last.at as usize == at + 1
        {
            let total = self.segment(at + 1) + self.end;
            self.charge(at + 1, total, 0, ChargeKind::Resume);
            self.end = 0;
        }
    }
}

impl Label {
    /// That of the function itself.
    const FUNCTION: Self =
        Self { is_loop: false, bare: false, hopeless: false, ahead: 0, other: None };
}
