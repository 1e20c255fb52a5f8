//! Rewrites one function by its plan: charges are put before their operators, everything else is
//! copied byte for byte but for calls of imports, ways out, and operators with a helper.
//!
//! The guest's body becomes a block, so that every way out of it ends at one place, which flushes
//! the count and gives the frame back. Labels keep their depth: what was the function's is now the
//! block's.

use super::layout::Layout;
use crate::inspect::{Charge, ChargeKind, Plan, helper};
use wasm_encoder::{BlockType, Function, InstructionSink, ValType};
use wasmparser::{BinaryReaderError, FunctionBody, Operator};

/// Writes the new body. `results` is the type of the block that the guest's body becomes.
pub(super) fn rewrite(
    layout: &Layout,
    plan: &Plan,
    body: &FunctionBody<'_>,
    mut locals: Vec<(u32, ValType)>,
    results: BlockType,
) -> Result<Function, BinaryReaderError> {
    locals.push((1, ValType::I64));
    let mut function = Function::new(locals);
    let bytes = Vec::with_capacity(body.range().len() * 2);
    let mut writer = Writer { layout, plan, bytes, depth: 0 };
    writer.enter();
    writer.operators(body, results)?;
    writer.leave();
    function.raw(writer.bytes);
    Ok(function)
}

struct Writer<'a> {
    layout: &'a Layout,
    plan: &'a Plan,
    bytes: Vec<u8>,
    /// Blocks of the guest's that are open, the function itself not counted.
    depth: u32,
}

impl Writer<'_> {
    fn code(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.bytes)
    }

    /// Takes the frame from the stack budget. A leaf only looks whether its frame would fit.
    fn enter(&mut self) {
        let (layout, stack) = (self.layout, self.layout.globals.stack);
        let frame = self.plan.frame.cast_signed();
        self.code().global_get(stack).i32_const(frame).i32_lt_s().if_(BlockType::Empty);
        self.code().call(layout.runtime.overflow).unreachable().end();
        if !self.plan.leaf {
            self.code().global_get(stack).i32_const(frame).i32_sub().global_set(stack);
        }
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

    fn operators(
        &mut self,
        body: &FunctionBody<'_>,
        results: BlockType,
    ) -> Result<(), BinaryReaderError> {
        let (bytes, start) = (body.as_bytes(), body.range().start);
        let mut charges = self.plan.charges.iter().peekable();
        let mut inline = self.plan.inline.iter().copied().peekable();
        let mut operators = body.get_operators_reader()?;
        let mut at = 0;
        while !operators.eof() {
            let (op, from) = operators.read_with_offset()?;
            if let Some(charge) = charges.next_if(|charge| charge.at == at) {
                self.charge(charge);
            }
            if at == 0 {
                self.code().block(results);
            }
            let kept = inline.next_if_eq(&at).is_some();
            if kept || !self.replace(&op) {
                self.copy(&bytes[from - start..operators.original_position() - start]);
            }
            self.nest(&op);
            at += 1;
        }
        Ok(())
    }

    fn copy(&mut self, operator: &[u8]) {
        self.bytes.extend_from_slice(operator);
    }

    fn nest(&mut self, op: &Operator<'_>) {
        match op {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => self.depth += 1,
            Operator::End => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Writes what stands in for an operator; `false` if nothing does.
    fn replace(&mut self, op: &Operator<'_>) -> bool {
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
                self.code().br(depth);
            }
            Operator::Unreachable => {
                self.code().local_get(counter);
                self.code().call(layout.runtime.unreachable).unreachable();
            }
            _ => match helper(op).and_then(|(helper, _)| layout.helper(helper)) {
                Some(helper) => self.call(helper),
                None => return false,
            },
        }
        true
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
        if charge.cost > 0 {
            self.code().i64_const(charge.cost.cast_signed()).i64_add();
        }
        match charge.kind {
            ChargeKind::Entry | ChargeKind::Header => self.check(),
            ChargeKind::Resume | ChargeKind::Plain => {
                self.code().local_set(counter);
            }
        }
    }

    /// Looks up if the count, which is on the operand stack, has passed the mark.
    fn check(&mut self) {
        let (counter, slow) = (self.plan.locals, self.layout.runtime.slow);
        self.code().local_tee(counter).i64_const(0).i64_gt_s().if_(BlockType::Empty);
        self.code().local_get(counter).call(slow).local_set(counter).end();
    }
}
