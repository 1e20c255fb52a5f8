//! Rewrites one function by its plan: charges are put before their operators, everything else is
//! copied byte for byte but for calls of imports, ways out, and operators with a helper.
//!
//! The guest's body becomes a block, so that every way out of it ends at one place, which flushes
//! the count and gives the frame back. Labels keep their depth: what was the function's is now the
//! block's.

use super::cold;
use super::hoist::{self, Rounds};
use super::layout::Layout;
use super::nan::{Scratch, Waiting, mend_local};
use super::runtime;
use super::state;
use crate::inspect::{Charge, ChargeKind, Gather, Hoist, Plan, Segment, count, helper, produces};
use std::ops::Range;
use wasm_encoder::{BlockType, Function, InstructionSink, ValType};
use wasmparser::{BinaryReaderError, FunctionBody, Operator};

/// Writes the new body. `results` is the type of the block that the guest's body becomes.
pub(super) fn rewrite(
    layout: &Layout,
    plan: &Plan,
    body: &FunctionBody<'_>,
    mut locals: Vec<(u32, ValType)>,
    results: BlockType,
) -> Result<Body, BinaryReaderError> {
    locals.push((1, ValType::I64));
    let scratch = Scratch::new(&plan.mends, plan.locals + 1);
    locals.extend(scratch.types().map(|ty| (1, ty)));
    let rounds = plan.locals + 1 + count(scratch.types().count());
    let mut next = rounds;
    if !plan.hoists.is_empty() {
        locals.extend(Rounds::TYPES.map(|ty| (1, ty)));
        next += count(Rounds::TYPES.len());
    }
    let (rounds, waiting) = (Rounds::new(rounds), Waiting::new(&plan.gathers, next));
    locals.extend(waiting.types().into_iter().filter(|(count, _)| *count > 0));
    let mut function = Function::new(locals);
    let bytes = Vec::with_capacity(body.range().len() * 2);
    let code = read(body)?;
    let copy = Version::Only;
    let mut writer = Writer {
        layout,
        plan,
        scratch,
        rounds,
        waiting,
        code: &code,
        bytes,
        depth: 0,
        copy,
        loop_depth: 0,
    };
    writer.enter();
    writer.operators(results);
    writer.leave();
    let cold = cold::branches(&writer.bytes, layout, plan.locals)?;
    let base = function.byte_len();
    function.raw(writer.bytes);
    Ok(Body { function, base, cold })
}

/// A new body, and which of its branches are hardly ever taken.
pub(super) struct Body {
    pub function: Function,
    /// Bytes before the code.
    pub base: usize,
    pub cold: Vec<cold::Hint>,
}

/// An operator of the guest's and its bytes.
struct Original<'a> {
    op: Operator<'a>,
    bytes: &'a [u8],
}

fn read<'a>(body: &FunctionBody<'a>) -> Result<Vec<Original<'a>>, BinaryReaderError> {
    let (bytes, start) = (body.as_bytes(), body.range().start);
    let mut operators = body.get_operators_reader()?;
    let mut code = Vec::new();
    while !operators.eof() {
        let (op, from) = operators.read_with_offset()?;
        let bytes = &bytes[from - start..operators.original_position() - start];
        code.push(Original { op, bytes });
    }
    Ok(code)
}

/// The items of a list in the order of the operators that stand at one of them.
fn at<T>(list: &[T], at: u32, key: impl Fn(&T) -> u32) -> impl Iterator<Item = &T> {
    let from = list.partition_point(|item| key(item) < at);
    let to = list.partition_point(|item| key(item) <= at);
    list[from..to].iter()
}

struct Writer<'a> {
    layout: &'a Layout,
    plan: &'a Plan,
    scratch: Scratch,
    rounds: Rounds,
    waiting: Waiting,
    code: &'a [Original<'a>],
    bytes: Vec<u8>,
    /// Blocks of the guest's that are open, the function itself not counted.
    depth: u32,
    copy: Version<'a>,
    /// What `depth` is directly in the loop that is copied.
    loop_depth: u32,
}

/// Which copy of an operator is written.
#[derive(Clone, Copy)]
enum Version<'a> {
    Only,
    /// That of a hoisted loop with charges.
    Plain,
    /// That of a hoisted loop without.
    Fast(&'a Hoist),
}

impl Version<'_> {
    /// Blocks of the meter's between an operator and its loop's.
    fn blocks(self) -> u32 {
        match self {
            Self::Only => 0,
            Self::Plain => 1,
            Self::Fast(_) => 3,
        }
    }
}

impl<'a> Writer<'a> {
    fn code(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.bytes)
    }

    /// Takes the frame from the stack budget. A leaf's is left out: there is only one at a time.
    fn enter(&mut self) {
        if self.plan.leaf {
            return;
        }
        let (layout, stack) = (self.layout, self.layout.globals.stack);
        let frame = self.plan.frame.cast_signed();
        self.code().global_get(stack).i32_const(frame).i32_lt_s().if_(BlockType::Empty);
        self.code().call(layout.runtime.overflow).unreachable().end();
        self.code().global_get(stack).i32_const(frame).i32_sub().global_set(stack);
    }

    fn leave(&mut self) {
        let stack = self.layout.globals.stack;
        self.flush();
        if !self.plan.leaf {
            let frame = self.plan.frame.cast_signed();
            self.code().global_get(stack).i32_const(frame).i32_add().global_set(stack);
        }
        self.code().end();
    }

    fn operators(&mut self, results: BlockType) {
        let plan = self.plan;
        let mut hoists = plan.hoists.iter().peekable();
        let mut position = 0;
        while position < count(self.code.len()) {
            self.charge_at(position);
            if position == 0 {
                self.code().block(results);
            }
            match hoists.next_if(|hoist| hoist.start == position) {
                Some(hoist) => {
                    self.hoisted(hoist);
                    position = hoist.branch;
                }
                None => self.operator(position),
            }
            position += 1;
        }
    }

    /// One operator, with what NaNs ask for before and after it.
    fn operator(&mut self, position: u32) {
        let original = &self.code[position as usize];
        self.mend_before(position);
        let kept = self.plan.inline.binary_search(&position).is_ok();
        if kept || !self.replace(position, &original.op) {
            self.bytes.extend_from_slice(original.bytes);
        }
        self.scramble(&original.op);
        if self.gathered(position + 1).is_some() {
            return;
        }
        for (_, shape) in at(&self.plan.mends.after, position, |mend| mend.0) {
            let code = &mut InstructionSink::new(&mut self.bytes);
            self.scratch.mend(code, &original.op, *shape);
        }
        self.nest(&original.op);
    }

    /// The stores among which an operator is one, and how many of them come before it.
    fn gathered(&self, position: u32) -> Option<(&'a Gather, u32)> {
        let gathers = &self.plan.gathers;
        let at = gathers.partition_point(|gather| gather.stores.last() < Some(&position));
        let gather = gathers.get(at)?;
        let before = gather.stores.binary_search(&position).ok()?;
        Some((gather, count(before)))
    }

    /// A store that waits for others; the last one makes all of them. `false` if it is none.
    fn wait(&mut self, position: u32) -> bool {
        let Some((gather, before)) = self.gathered(position) else { return false };
        let (waiting, shape) = (self.waiting, gather.shape);
        waiting.put(&mut self.code(), shape, before);
        if gather.stores.last() == Some(&position) {
            waiting.mend(&mut self.code(), shape, before + 1);
            for (index, store) in (0..).zip(&gather.stores) {
                waiting.take(&mut self.code(), shape, index);
                self.bytes.extend_from_slice(self.code[*store as usize].bytes);
            }
        }
        true
    }

    fn mend_before(&mut self, position: u32) {
        for (_, local, shape) in at(&self.plan.mends.before, position, |mend| mend.0) {
            mend_local(&mut InstructionSink::new(&mut self.bytes), *local, *shape);
        }
    }

    /// A loop that is paid before it runs, up to its branch back; see [`super::hoist`].
    fn hoisted(&mut self, hoist: &'a Hoist) {
        let (counter, rounds) = (self.plan.locals, self.rounds);
        self.mend_before(hoist.start);
        self.depth += 1;
        self.loop_depth = self.depth;
        self.code().loop_(BlockType::Empty).block(BlockType::Empty);
        hoist::begin(&mut self.code(), hoist, rounds, counter);
        self.code().loop_(BlockType::Empty);
        self.copy = Version::Fast(hoist);
        self.fast_round(hoist);
        self.code().br_if(0).end();
        hoist::finish(&mut self.code(), rounds);
        self.copy = Version::Plain;
        // One round the plain way: it looks at the count, and after it there may be room again.
        self.charge_at(hoist.start + 1);
        self.round(hoist.start + 1..hoist.branch);
        self.mend_before(hoist.branch);
        self.code().br_if(1).end();
        self.copy = Version::Only;
    }

    /// A round that pays nothing and leaves whether another follows on the stack.
    fn fast_round(&mut self, hoist: &Hoist) {
        let bound = hoist.bound_at.unwrap_or(hoist.branch);
        let compare = hoist.compare_at.unwrap_or(hoist.branch);
        self.round(hoist.start + 1..bound);
        self.charge_inside(bound);
        let local = self.rounds.bound;
        self.code().local_get(local);
        self.round(bound + 1..compare);
        self.code().i32_ne();
        self.mend_before(hoist.branch);
    }

    /// A part of a round, with what is paid inside of it.
    fn round(&mut self, operators: Range<u32>) {
        for position in operators {
            self.charge_inside(position);
            self.operator(position);
        }
    }

    fn charge_inside(&mut self, position: u32) {
        for charge in at(&self.plan.charges, position, |charge| charge.at) {
            if charge.kind == ChargeKind::Plain {
                self.charge(charge);
            }
        }
    }

    fn charge_at(&mut self, position: u32) {
        for charge in at(&self.plan.charges, position, |charge| charge.at) {
            self.charge(charge);
        }
    }

    /// In tests, replaces every NaN that the operator may have computed.
    fn scramble(&mut self, op: &Operator<'_>) {
        if let Some(shape) = produces(op)
            && let Some(scrambler) = self.layout.scrambler(shape)
        {
            self.code().call(scrambler);
        }
    }

    fn nest(&mut self, op: &Operator<'_>) {
        match op {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => self.depth += 1,
            Operator::End => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Writes what stands in for an operator; `false` if nothing does.
    fn replace(&mut self, position: u32, op: &Operator<'_>) -> bool {
        let (layout, counter, depth) = (self.layout, self.plan.locals, self.depth);
        match op {
            Operator::Call { function_index } => self.call(layout.function(*function_index)),
            Operator::CallIndirect { type_index, table_index } => {
                self.flush();
                self.code().call_indirect(*table_index, *type_index);
            }
            Operator::RefFunc { function_index } => {
                self.code().ref_func(layout.function(*function_index));
            }
            Operator::Return => {
                self.give_back(position);
                let blocks = self.copy.blocks();
                self.code().br(depth + blocks);
            }
            Operator::Br { relative_depth } => return self.jump(position, *relative_depth),
            Operator::F32Store { .. } | Operator::F64Store { .. } => return self.wait(position),
            Operator::BrIf { relative_depth } => return self.edge(position, *relative_depth),
            Operator::Unreachable => {
                self.give_back(position);
                self.code().local_get(counter);
                self.code().call(layout.runtime.unreachable).unreachable();
            }
            Operator::DataDrop { data_index } => {
                return self.note_drop(Segment::Data(*data_index));
            }
            Operator::ElemDrop { elem_index } => {
                return self.note_drop(Segment::Element(*elem_index));
            }
            _ => match helper(op).and_then(|(helper, _)| layout.helper(helper)) {
                Some(helper) => self.call(helper),
                None => return false,
            },
        }
        true
    }

    /// A branch that pays when it is taken; `false` if it does not.
    fn edge(&mut self, position: u32, depth: u32) -> bool {
        let Some(edge) = at(&self.plan.edges, position, |edge| edge.at).next() else {
            return false;
        };
        let counter = self.plan.locals;
        if edge.cost == 0 && !matches!(self.copy, Version::Fast(_)) {
            let target = self.target(position, depth);
            self.code().br_if(target);
            return true;
        }
        self.code().if_(BlockType::Empty);
        self.code().i64_const(edge.cost).local_get(counter).i64_add().local_set(counter);
        let target = self.target(position, depth);
        self.code().br(target + 1).end();
        true
    }

    /// A branch that leaves the copy of a loop; `false` for any other.
    fn jump(&mut self, position: u32, depth: u32) -> bool {
        let target = self.target(position, depth);
        if target == depth {
            return false;
        }
        self.code().br(target);
        true
    }

    /// The depth of a branch's target in the copy that is written. On the way out of one that was paid ahead the rest is
    /// given back.
    fn target(&mut self, position: u32, depth: u32) -> u32 {
        let blocks = self.copy.blocks();
        if blocks == 0 || depth <= self.depth - self.loop_depth {
            return depth;
        }
        self.give_back(position);
        depth + blocks
    }

    /// On a way out of a loop that was paid ahead: what was paid for rounds that did not begin.
    fn give_back(&mut self, position: u32) {
        let (counter, rounds) = (self.plan.locals, self.rounds);
        if let Version::Fast(hoist) = self.copy {
            hoist::give_back(&mut self.code(), hoist, rounds, counter, hoist.set < position);
        }
    }

    /// Drops a segment and notes it, where that is part of what is kept between two steps.
    fn note_drop(&mut self, segment: Segment) -> bool {
        let layout = self.layout;
        layout.flag(segment).is_some_and(|flag| {
            state::drop_segment(&mut self.code(), segment, flag);
            true
        })
    }

    fn call(&mut self, function: u32) {
        self.flush();
        self.code().call(function);
    }

    fn flush(&mut self) {
        let (counter, count) = (self.plan.locals, self.layout.globals.count);
        self.code().local_get(counter).global_set(count);
    }

    fn charge(&mut self, charge: &Charge) {
        let (counter, count) = (self.plan.locals, self.layout.globals.count);
        match charge.kind {
            ChargeKind::Entry | ChargeKind::Resume => {
                self.code().global_get(count);
            }
            ChargeKind::Header | ChargeKind::Plain => {
                self.code().local_get(counter);
            }
        }
        if charge.cost != 0 {
            self.code().i64_const(charge.cost).i64_add();
        }
        match charge.kind {
            ChargeKind::Entry | ChargeKind::Header => self.check(charge.ahead),
            ChargeKind::Resume | ChargeKind::Plain => {
                self.code().local_set(counter);
            }
        }
    }

    /// Looks up if the count, which is on the operand stack and `ahead`, has passed the mark.
    fn check(&mut self, ahead: i64) {
        let (counter, layout) = (self.plan.locals, self.layout);
        let mut code = self.code();
        code.local_tee(counter).i64_const(ahead).i64_gt_s().if_(BlockType::Empty);
        if ahead != 0 {
            code.local_get(counter).i64_const(ahead).i64_sub().local_set(counter);
        }
        match layout.control {
            Some(control) => runtime::poll(&mut code, layout, control, counter),
            None => {
                code.local_get(counter).call(layout.runtime.slow).local_set(counter);
            }
        }
        if ahead != 0 {
            code.local_get(counter).i64_const(ahead).i64_add().local_set(counter);
        }
        code.end();
    }
}
