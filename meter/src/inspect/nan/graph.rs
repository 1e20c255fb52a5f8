//! Where values come from: a graph of what was computed, carried and joined, and what to do so that
//! no observer sees a dirty bit.
//!
//! Every value has two sets of shapes. *Dirty*: what some way of computing it may have left in bits
//! that engines choose. *Fragile*: in which shapes some way of obtaining it may be a NaN that must be
//! kept as it is. A value that is dirty in one shape and not fragile in it may be made canonical
//! wherever that is convenient; one that is both can only be mended where its ways part.

use super::effect::{Change, Shapes};
use crate::inspect::count;

pub(super) type NodeId = u32;

/// No operator leaves just this value on top of the operand stack.
pub(super) const NOWHERE: u32 = u32::MAX;

/// A value on the operand stack, and the operator after which it is on top.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub node: NodeId,
    pub at: u32,
}

impl Entry {
    pub(super) const EXACT: Self = Self { node: Graph::EXACT, at: NOWHERE };
}

/// Where a way into a join can be made canonical without touching the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fix {
    /// On the operand stack, after this operator.
    After(u32),
    /// In the local, before this operator.
    Before { at: u32, local: u32 },
    /// Only where the value itself comes from.
    Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// From outside, or of known bits.
    Given,
    /// Left on the stack by this operator.
    Made(u32),
    /// The same value or local by several ways, or kept for one that may come.
    Joined,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    /// What it is dirty and fragile in by itself, then by all its ways.
    own: (Shapes, Shapes),
    dirty: Shapes,
    fragile: Shapes,
    /// What it can take from its ways, and how these shapes change.
    takes: Shapes,
    change: Change,
    first: u32,
    last: u32,
    canonical: bool,
    asked: bool,
}

#[derive(Debug)]
struct Way {
    node: NodeId,
    fix: Fix,
    fixed: bool,
    next: u32,
}

const NO_WAY: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    ways: Vec<Way>,
    uses: Vec<(Entry, Shapes)>,
}

/// What the second pass has to do, in the order of the operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mends {
    /// Make the value on top canonical after the operator.
    pub after: Vec<(u32, Shapes)>,
    /// Make the local canonical before the operator.
    pub before: Vec<(u32, u32, Shapes)>,
}

impl Graph {
    /// A value that can be anything and must stay what it is.
    pub(super) const EXACT: NodeId = 0;
    /// A value that is no NaN in any shape.
    pub(super) const WHOLE: NodeId = 1;

    pub(super) fn new() -> Self {
        let mut graph = Self::default();
        graph.node(Kind::Given, (Shapes::NONE, Shapes::ALL));
        graph.node(Kind::Given, (Shapes::NONE, Shapes::NONE));
        graph
    }

    /// The next node's number.
    pub(super) fn next(&self) -> NodeId {
        count(self.nodes.len())
    }

    /// How much it holds, to bound the work.
    pub(super) fn size(&self) -> usize {
        self.nodes.len() + self.ways.len() + self.uses.len()
    }

    fn node(&mut self, kind: Kind, own: (Shapes, Shapes)) -> NodeId {
        let id = count(self.nodes.len());
        self.nodes.push(Node {
            kind,
            own,
            dirty: Shapes::NONE,
            fragile: Shapes::NONE,
            takes: Shapes::ALL,
            change: Change::Same,
            first: NO_WAY,
            last: NO_WAY,
            canonical: false,
            asked: false,
        });
        id
    }

    /// A value of no dirt that may look like a NaN in these shapes.
    pub(super) fn given(&mut self, fragile: Shapes) -> NodeId {
        match fragile {
            Shapes::NONE => Self::WHOLE,
            Shapes::ALL => Self::EXACT,
            _ => self.node(Kind::Given, (Shapes::NONE, fragile)),
        }
    }

    /// A new value of this shape, computed by the operator.
    pub(super) fn produced(&mut self, at: u32, shape: Shapes) -> Entry {
        let other = Shapes::VECTORS.and(if shape.and(Shapes::VECTORS).is_none() {
            Shapes::NONE
        } else {
            Shapes::VECTORS.without(shape)
        });
        Entry { node: self.node(Kind::Made(at), (shape, other)), at }
    }

    /// A value that carries the bits of others. Nothing is kept if none of them can be dirty.
    pub(super) fn carried(
        &mut self,
        at: u32,
        from: &[Entry],
        takes: Shapes,
        change: Change,
    ) -> Entry {
        let own = match change {
            // Lanes put together may look like a NaN in the other shape.
            Change::ToVector => Shapes::VECTORS.without(takes),
            _ => Shapes::NONE,
        };
        let node = self.node(Kind::Made(at), (Shapes::NONE, own));
        (self.nodes[node as usize].takes, self.nodes[node as usize].change) = (takes, change);
        for entry in from {
            self.way(node, entry.node, entry.fix());
        }
        Entry { node, at }
    }

    /// A value that comes by several ways, none of them known yet.
    pub(super) fn joined(&mut self) -> NodeId {
        self.node(Kind::Joined, (Shapes::NONE, Shapes::NONE))
    }

    /// Adds a way to a join. A second way with the same value has to be mended at the source.
    pub(super) fn way(&mut self, to: NodeId, from: NodeId, fix: Fix) {
        let last = self.nodes[to as usize].last;
        if let Some(way) = self.ways.get_mut(last as usize)
            && way.node == from
        {
            if way.fix != fix {
                way.fix = Fix::Source;
            }
            return;
        }
        let id = count(self.ways.len());
        self.ways.push(Way { node: from, fix, fixed: false, next: NO_WAY });
        self.nodes[to as usize].last = id;
        match self.ways.get_mut(last as usize) {
            Some(way) => way.next = id,
            None => self.nodes[to as usize].first = id,
        }
    }

    /// Notes that something looks at a value, and in which shapes it may be dirty all the same.
    pub(super) fn used(&mut self, entry: Entry, allowed: Shapes) {
        if self.nodes[entry.node as usize].kind != Kind::Given {
            self.uses.push((entry, allowed));
        }
    }

    /// Decides what has to be made canonical and where.
    pub(super) fn solve(mut self) -> Mends {
        let mut mends = Mends::default();
        let uses = std::mem::take(&mut self.uses);
        self.spread();
        for (entry, allowed) in &uses {
            if !self.seen(*entry, *allowed).is_none() && !self.is_easy(*entry) {
                self.demand(entry.node, &mut mends);
            }
        }
        // What has been mended is clean now, and what was made of it.
        self.spread();
        for (entry, allowed) in &uses {
            let seen = self.seen(*entry, *allowed);
            if !seen.is_none() {
                mends.after.push((entry.at, self.nodes[entry.node as usize].dirty));
            }
        }
        mends.after.sort_unstable();
        mends.after.dedup();
        mends.before.sort_unstable();
        mends.before.dedup();
        mends
    }

    fn seen(&self, entry: Entry, allowed: Shapes) -> Shapes {
        self.nodes[entry.node as usize].dirty.without(allowed)
    }

    fn is_easy(&self, entry: Entry) -> bool {
        entry.at != NOWHERE && self.nodes[entry.node as usize].is_pure()
    }

    /// Computes what every value is dirty and fragile in: the smallest sets that hold what its ways
    /// bring.
    fn spread(&mut self) {
        for node in &mut self.nodes {
            (node.dirty, node.fragile) = node.own;
            if node.canonical {
                node.dirty = Shapes::NONE;
            }
        }
        let mut changed = true;
        while changed {
            changed = false;
            for id in 0..self.nodes.len() {
                let (dirty, fragile) = self.brought(id);
                let node = &mut self.nodes[id];
                changed |= dirty != node.dirty || fragile != node.fragile;
                (node.dirty, node.fragile) = (dirty, fragile);
            }
        }
    }

    fn brought(&self, id: usize) -> (Shapes, Shapes) {
        let node = &self.nodes[id];
        let (mut dirty, mut fragile) = (node.dirty, node.fragile);
        let mut at = node.first;
        while let Some(way) = self.ways.get(at as usize) {
            let from = &self.nodes[way.node as usize];
            if !way.fixed {
                dirty = dirty.with(node.change.apply(from.dirty.and(node.takes)));
            }
            fragile = fragile.with(node.change.apply(from.fragile));
            at = way.next;
        }
        if node.canonical { (Shapes::NONE, fragile) } else { (dirty, fragile) }
    }

    /// Mends every way by which a value can be dirty.
    fn demand(&mut self, first: NodeId, mends: &mut Mends) {
        let mut open = vec![first];
        while let Some(id) = open.pop() {
            let node = &mut self.nodes[id as usize];
            if node.asked || node.dirty.is_none() {
                continue;
            }
            node.asked = true;
            if let (Kind::Made(at), true) = (node.kind, node.is_pure()) {
                node.canonical = true;
                mends.after.push((at, node.dirty));
                continue;
            }
            let mut at = node.first;
            while (at as usize) < self.ways.len() {
                self.demand_way(at as usize, mends, &mut open);
                at = self.ways[at as usize].next;
            }
        }
    }

    fn demand_way(&mut self, at: usize, mends: &mut Mends, open: &mut Vec<NodeId>) {
        let way = &mut self.ways[at];
        let from = &self.nodes[way.node as usize];
        let shape = from.dirty;
        match way.fix {
            _ if shape.is_none() => {}
            Fix::After(at) if from.is_pure() => mends.after.push((at, shape)),
            Fix::Before { at, local } if from.is_pure() => mends.before.push((at, local, shape)),
            _ => return open.push(way.node),
        }
        way.fixed = true;
    }
}

impl Node {
    /// Whether it can be made canonical without changing a bit that must be kept.
    fn is_pure(&self) -> bool {
        self.dirty.is_single() && self.dirty.and(self.fragile).is_none()
    }
}

impl Entry {
    pub(super) fn fix(self) -> Fix {
        if self.at == NOWHERE { Fix::Source } else { Fix::After(self.at) }
    }
}
