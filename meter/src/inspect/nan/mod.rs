//! Follows the bits of floats through one function and says where a NaN has to be made canonical.
//!
//! Arithmetic may leave any bits in a NaN. Such a value is *dirty* in its lane shape; it becomes the
//! positive canonical NaN before anything can look at its bits, and not before: a loop that only
//! computes pays nothing. Every value is followed on the operand stack and through float locals;
//! where ways meet, a join remembers them. Whether a join needs work is only asked for when something
//! looks at what comes out of it, so a local that is dead costs nothing.
//!
//! All of it is one pass over the operators and some work in the graph, both bounded by the length of
//! the function; a function beyond the bound is followed the simple way, in which locals and the
//! values of labels are always exact.

mod effect;
mod graph;
mod labels;

pub(crate) use effect::Shapes;
pub(crate) use graph::Mends;

use super::body::Op;
use effect::{Change, Effect};
use graph::{Entry, Graph, NOWHERE, NodeId};
use labels::{Frame, Shape};
use wasmparser::{Operator, ValType};

/// What of a function's locals matters here.
#[derive(Clone, Debug, Default)]
pub(super) struct Locals {
    /// For each local the position in the list of those followed.
    slots: Vec<Option<u32>>,
    /// The followed locals: their index, and whether they are parameters.
    followed: Vec<(u32, bool)>,
}

impl Locals {
    pub(super) fn new(types: &[ValType], params: u32) -> Self {
        let mut locals = Self::default();
        for (index, ty) in (0..).zip(types) {
            let float = matches!(ty, ValType::F32 | ValType::F64 | ValType::V128);
            locals.slots.push(float.then(|| super::count(locals.followed.len())));
            if float {
                locals.followed.push((index, index < params));
            }
        }
        locals
    }

    fn slot(&self, local: u32) -> Option<usize> {
        self.slots.get(local as usize).copied().flatten().map(|slot| slot as usize)
    }
}

/// What has to be made canonical in a function.
pub(super) fn mends(ops: &[Op<'_>], locals: &Locals) -> Mends {
    if !ops.iter().any(|op| matches!(Effect::of(&op.op), Effect::Produces(..))) {
        return Mends::default();
    }
    let bound = 1_024 + 64 * ops.len();
    let graph = Tracer::new(ops, locals, bound).run().or_else(|| {
        // Nothing is kept at joins, so there is no bound to exceed.
        let simple = Locals { slots: vec![None; locals.slots.len()], followed: Vec::new() };
        Tracer { simple: true, ..Tracer::new(ops, &simple, usize::MAX) }.run()
    });
    graph.map(Graph::solve).unwrap_or_default()
}

/// The shape of the new float an operator computes, if it does. Written apart from what the pass goes by,
/// so that tests which scramble NaNs also notice an operator that the pass has forgotten.
pub(crate) fn produces(op: &Operator<'_>) -> Option<Shapes> {
    let name = crate::CostTable::name(op);
    let (shape, rest) = [
        ("F32x4", Shapes::F32X4),
        ("F64x2", Shapes::F64X2),
        ("F32", Shapes::F32),
        ("F64", Shapes::F64),
    ]
    .into_iter()
    .find_map(|(prefix, shape)| Some((shape, name.strip_prefix(prefix)?)))?;
    let bits = ["Const", "Load", "Store", "Reinterpret", "Abs", "Neg", "Copysign", "PM", "Splat"];
    let others = ["Extract", "Replace", "Convert", "Eq", "Ne", "Lt", "Gt", "Le", "Ge"];
    let nearest = rest == "Nearest";
    let kept = bits.iter().chain(&others).any(|begin| rest.starts_with(begin));
    (nearest || !kept).then_some(shape)
}

struct Tracer<'a> {
    ops: &'a [Op<'a>],
    locals: &'a Locals,
    graph: Graph,
    stack: Vec<Entry>,
    /// The value that each followed local holds.
    held: Vec<NodeId>,
    frames: Vec<Frame>,
    /// For each loop in turn, the slots that it assigns.
    assigned: std::vec::IntoIter<Vec<u32>>,
    /// Whether joins are not followed.
    simple: bool,
    /// Steps of work still allowed.
    left: usize,
}

impl<'a> Tracer<'a> {
    fn new(ops: &'a [Op<'a>], locals: &'a Locals, bound: usize) -> Self {
        let param = |param: bool| if param { Graph::EXACT } else { Graph::WHOLE };
        Self {
            ops,
            locals,
            graph: Graph::new(),
            stack: Vec::new(),
            held: locals.followed.iter().map(|(_, is)| param(*is)).collect(),
            frames: vec![Frame::function()],
            assigned: labels::assigned(ops, locals).into_iter(),
            simple: false,
            left: bound,
        }
    }

    /// The graph of the function, unless it is too much work.
    fn run(mut self) -> Option<Graph> {
        let bound = self.left;
        for (at, op) in (0..).zip(self.ops) {
            self.step(at, op);
            if self.left == 0 || self.graph.size() > bound {
                return None;
            }
        }
        Some(self.graph)
    }

    fn spend(&mut self, work: usize) {
        self.left = self.left.saturating_sub(work);
    }

    fn step(&mut self, at: u32, op: &Op<'_>) {
        match &op.op {
            Operator::Block { .. } => self.open(Shape::Block, op.pops),
            Operator::Loop { .. } => self.open_loop(at, op),
            Operator::If { .. } => self.open_if(at, op),
            Operator::Else => self.turn(at),
            Operator::End => self.close(at, op),
            _ if !self.reached() => {}
            Operator::Br { relative_depth } => {
                self.branch(at, *relative_depth, op.pops);
                self.stop();
            }
            Operator::BrIf { relative_depth } => {
                self.pop(1);
                self.branch(at, *relative_depth, op.pushes);
            }
            Operator::BrTable { targets } => {
                self.pop(1);
                let values = op.pops.saturating_sub(1);
                let mut depths: Vec<_> = targets.targets().flatten().collect();
                depths.push(targets.default());
                depths.sort_unstable();
                depths.dedup();
                for depth in depths {
                    self.branch(at, depth, values);
                }
                self.stop();
            }
            Operator::Return => {
                self.observe(op.pops);
                self.stop();
            }
            Operator::Unreachable => self.stop(),
            Operator::LocalGet { local_index } => self.get(at, *local_index),
            Operator::LocalSet { local_index } => self.set(*local_index),
            Operator::LocalTee { local_index } => {
                self.set(*local_index);
                self.get(at, *local_index);
            }
            other => self.plain(at, op, Effect::of(other)),
        }
    }

    /// What follows cannot be reached.
    fn stop(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.reached = false;
        }
    }

    fn pop(&mut self, values: u32) -> Vec<Entry> {
        self.stack.split_off(self.stack.len().saturating_sub(values as usize))
    }

    /// The topmost values are looked at, and stay.
    fn observe(&mut self, values: u32) {
        let from = self.stack.len().saturating_sub(values as usize);
        self.spend(values as usize);
        for entry in &mut self.stack[from..] {
            self.graph.used(*entry, Shapes::NONE);
            // Looked at once, it has been made canonical for all that follow.
            if self.simple {
                *entry = Entry::EXACT;
            }
        }
    }

    fn get(&mut self, at: u32, local: u32) {
        let node = self.locals.slot(local).map_or(Graph::EXACT, |slot| self.held[slot]);
        self.stack.push(Entry { node, at });
    }

    fn set(&mut self, local: u32) {
        match self.locals.slot(local) {
            Some(slot) => {
                if let Some(entry) = self.stack.pop() {
                    self.held[slot] = entry.node;
                }
            }
            None => {
                self.observe(1);
                self.pop(1);
            }
        }
    }

    fn plain(&mut self, at: u32, op: &Op<'_>, effect: Effect) {
        let entries = self.pop(op.pops);
        let allowed = match effect {
            Effect::Observes | Effect::Whole(_) | Effect::Copysign => Shapes::NONE,
            Effect::Reads(shape) | Effect::Produces(shape, _) | Effect::Carries(shape, _) => shape,
            Effect::Drops | Effect::Select => Shapes::ALL,
        };
        let first = usize::from(effect == Effect::Copysign).min(entries.len());
        for entry in &entries[first..] {
            self.graph.used(*entry, allowed);
        }
        let given = match effect {
            Effect::Whole(shapes) => Entry { node: self.graph.given(shapes), at },
            Effect::Produces(_, shape) => self.graph.produced(at, shape),
            Effect::Carries(shapes, change) => self.carry(at, &entries, shapes, change),
            Effect::Select => {
                self.carry(at, &entries[..entries.len().min(2)], Shapes::ALL, Change::Same)
            }
            Effect::Copysign => self.carry(at, &entries[..first], Shapes::ALL, Change::Same),
            Effect::Observes | Effect::Reads(_) | Effect::Drops => Entry::EXACT,
        };
        for _ in 0..op.pushes {
            self.stack.push(given);
        }
    }

    fn carry(&mut self, at: u32, from: &[Entry], takes: Shapes, change: Change) -> Entry {
        if from.iter().all(|entry| entry.node == Graph::EXACT) {
            return Entry { node: Graph::EXACT, at: NOWHERE };
        }
        self.graph.carried(at, from, takes, change)
    }
}
