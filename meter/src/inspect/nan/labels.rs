//! Where ways meet: blocks, loops, branches.

use super::graph::{Entry, Fix, Graph, NOWHERE, NodeId};
use super::{Locals, Tracer};
use crate::inspect::body::Op;
use crate::inspect::count;
use wasmparser::Operator;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Function,
    Block,
    Loop,
    If,
}

/// A block that is open, and what is known at its label.
#[derive(Debug)]
pub(super) struct Frame {
    shape: Shape,
    /// Operands below its own.
    height: usize,
    /// Whether the place come to so far can be reached.
    pub(super) reached: bool,
    label: Option<Label>,
    other: Option<Other>,
}

/// What the other way of an `if` begins with.
#[derive(Debug)]
struct Other {
    at: u32,
    params: Vec<Entry>,
    held: Vec<NodeId>,
}

/// The values with which a label is reached: those it takes from the stack, and the locals.
#[derive(Debug)]
struct Label {
    values: Vec<NodeId>,
    held: Vec<NodeId>,
    /// Nodes from here on were made for this label.
    own: NodeId,
    ways: u32,
    /// The only way so far, to be taken over when a second one differs.
    first: (u32, Vec<Entry>),
}

impl Frame {
    pub(super) fn function() -> Self {
        Self { shape: Shape::Function, height: 0, reached: true, label: None, other: None }
    }
}

/// For each loop in turn, the followed locals that are assigned inside it.
pub(super) fn assigned(ops: &[Op<'_>], locals: &Locals) -> Vec<Vec<u32>> {
    let mut loops: Vec<Vec<u32>> = Vec::new();
    let mut open: Vec<Option<usize>> = Vec::new();
    for op in ops {
        match op.op {
            Operator::Loop { .. } => {
                open.push(Some(loops.len()));
                loops.push(Vec::new());
            }
            Operator::Block { .. } | Operator::If { .. } => open.push(None),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                let inner = open.iter().rev().copied().flatten().next();
                if let (Some(inner), Some(slot)) = (inner, locals.slot(local_index)) {
                    loops[inner].push(count(slot));
                }
            }
            Operator::End => {
                if let Some(Some(inner)) = open.pop() {
                    loops[inner].sort_unstable();
                    loops[inner].dedup();
                    if let Some(outer) = open.iter().rev().copied().flatten().next() {
                        let all = loops[inner].clone();
                        loops[outer].extend(all);
                    }
                }
            }
            _ => {}
        }
    }
    loops
}

impl Tracer<'_> {
    pub(super) fn reached(&self) -> bool {
        self.frames.last().is_some_and(|frame| frame.reached)
    }

    pub(super) fn open(&mut self, shape: Shape, params: u32) {
        let reached = self.reached();
        let params = if reached { params as usize } else { 0 };
        let height = self.stack.len().saturating_sub(params);
        self.frames.push(Frame { shape, height, reached, label: None, other: None });
    }

    pub(super) fn open_if(&mut self, at: u32, op: &Op<'_>) {
        let params = op.pops.saturating_sub(1);
        if self.reached() {
            self.pop(1);
        }
        self.open(Shape::If, params);
        if !self.reached() {
            return;
        }
        self.spend(self.held.len());
        let params = self.stack[self.stack.len() - params as usize..].to_vec();
        let held = self.held.clone();
        if let Some(frame) = self.frames.last_mut() {
            frame.other = Some(Other { at, params, held });
        }
    }

    /// Values that a loop may change are joins from the start: the ways back come later.
    pub(super) fn open_loop(&mut self, at: u32, op: &Op<'_>) {
        self.open(Shape::Loop, op.pops);
        let slots = self.assigned.next().unwrap_or_default();
        if !self.reached() {
            return;
        }
        let own = self.graph.next();
        self.spend(slots.len() + op.pops as usize + self.held.len());
        for slot in slots {
            let node = self.graph.joined();
            let fix = Fix::Before { at, local: self.locals.followed[slot as usize].0 };
            self.graph.way(node, self.held[slot as usize], fix);
            self.held[slot as usize] = node;
        }
        let mut values = Vec::new();
        let params = self.pop(op.pops);
        for (left, entry) in (0..params.len()).rev().zip(params) {
            if self.simple {
                self.graph.used(entry, super::Shapes::NONE);
                self.stack.push(Entry::EXACT);
                continue;
            }
            let node = self.graph.joined();
            self.graph.way(node, entry.node, entry.fix());
            values.push(node);
            self.stack.push(Entry { node, at: if left == 0 { at } else { NOWHERE } });
        }
        let held = self.held.clone();
        let label = Label { values, held, own, ways: 2, first: (at, Vec::new()) };
        if let Some(frame) = self.frames.last_mut() {
            frame.label = Some(label);
        }
    }

    /// A way to a label with the topmost values of the stack, which stay.
    pub(super) fn branch(&mut self, at: u32, depth: u32, values: u32) {
        let target = self.frames.len().checked_sub(depth as usize + 1);
        if target == Some(0) || self.simple {
            self.observe(values);
        }
        let Some(target @ 1..) = target else { return };
        let values = if self.simple { 0 } else { values };
        let entries = self.stack[self.stack.len() - values as usize..].to_vec();
        self.meet(target, at, entries);
    }

    fn meet(&mut self, target: usize, at: u32, entries: Vec<Entry>) {
        self.spend(1 + entries.len() + self.held.len());
        match self.frames[target].label.take() {
            None => {
                let values = entries.iter().map(|entry| entry.node).collect();
                let (held, own) = (self.held.clone(), self.graph.next());
                let first = (at, entries);
                self.frames[target].label = Some(Label { values, held, own, ways: 1, first });
            }
            Some(mut label) => {
                self.join_values(&mut label, &entries);
                self.join_held(&mut label, at);
                label.ways += 1;
                self.frames[target].label = Some(label);
            }
        }
    }

    fn join_values(&mut self, label: &mut Label, entries: &[Entry]) {
        for (index, entry) in entries.iter().enumerate() {
            let known = label.values[index];
            if known == entry.node {
                continue;
            }
            let first = label.first.1.get(index).filter(|_| label.ways == 1);
            let fix = first.map_or(Fix::Source, |first| first.fix());
            let node = self.own(label.own, known, fix);
            self.graph.way(node, entry.node, entry.fix());
            label.values[index] = node;
        }
    }

    fn join_held(&mut self, label: &mut Label, at: u32) {
        for slot in 0..self.held.len() {
            let (known, new) = (label.held[slot], self.held[slot]);
            if known == new {
                continue;
            }
            let local = self.locals.followed[slot].0;
            let first = Fix::Before { at: label.first.0, local };
            let fix = if label.ways == 1 { first } else { Fix::Source };
            let node = self.own(label.own, known, fix);
            self.graph.way(node, new, Fix::Before { at, local });
            label.held[slot] = node;
        }
    }

    /// The join of a label: the known node if it was made for it, as all of its nodes from `own` on
    /// were, or a new one that begins with it.
    fn own(&mut self, own: NodeId, known: NodeId, fix: Fix) -> NodeId {
        if known >= own {
            return known;
        }
        let node = self.graph.joined();
        self.graph.way(node, known, fix);
        node
    }

    /// An `else`: the first way goes to the label, the other begins.
    pub(super) fn turn(&mut self, at: u32) {
        self.fall(at);
        self.other_way();
    }

    /// Goes back to what was known before an `if`; answers where that was, if it can be reached.
    fn other_way(&mut self) -> Option<u32> {
        let frame = self.frames.last_mut()?;
        let Other { at, params, held } = frame.other.take()?;
        frame.reached = true;
        self.stack.truncate(frame.height);
        self.stack.extend(params);
        self.held = held;
        Some(at)
    }

    /// The way from the inside of a block to its own label.
    fn fall(&mut self, at: u32) {
        if self.reached()
            && let Some(frame) = self.frames.last()
        {
            self.branch(at, 0, count(self.stack.len() - frame.height));
        }
    }

    pub(super) fn close(&mut self, at: u32, op: &Op<'_>) {
        let Some(frame) = self.frames.last() else { return };
        let through = match frame.shape {
            Shape::Function | Shape::Loop => true,
            Shape::Block => frame.label.is_none(),
            Shape::If => false,
        };
        if frame.shape == Shape::Function && frame.reached {
            self.observe(op.pops);
        }
        if !through {
            self.fall(at);
            // An `if` without `else` ends the other way with what it began.
            if let Some(at) = self.other_way() {
                self.fall(at);
            }
        }
        let Some(frame) = self.frames.pop() else { return };
        let reached = match frame.label {
            Some(label) if !through => {
                self.leave(at, frame.height, label, op.pushes);
                true
            }
            _ => frame.reached && through,
        };
        if !reached {
            self.stack.truncate(frame.height);
        }
        if let Some(outer) = self.frames.last_mut() {
            outer.reached = reached;
        }
    }

    /// Goes on behind a label with what all ways to it have brought.
    fn leave(&mut self, at: u32, height: usize, label: Label, pushes: u32) {
        self.held = label.held;
        self.stack.truncate(height);
        for index in 0..pushes as usize {
            let node = label.values.get(index).copied().unwrap_or(Graph::EXACT);
            let top = index + 1 == pushes as usize;
            self.stack.push(Entry { node, at: if top { at } else { NOWHERE } });
        }
    }
}
