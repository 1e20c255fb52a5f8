//! The functions of the meter that every module gets: the slow way of a check, the ways to stop,
//! and a thunk for every import.

use super::layout::{Layout, Types};
use super::{Code, function};
use crate::SLICE;
use crate::abi::{BOUND_AT, Cause, PROGRESS_AT};
use crate::cost::{HostCost, Moved};
use crate::inspect::count;
use wasm_encoder::{BlockType, InstructionSink, MemArg, ValType};
use wasmparser::FuncType;

const I64: ValType = ValType::I64;

/// The functions of [`super::layout::Runtime`], in its order.
pub(super) fn functions(layout: &Layout, types: &mut Types) -> Vec<Code> {
    let hook = types.intern(&[I64], &[]);
    vec![
        Code::new(types, &[ValType::I32], &[], stop(layout)),
        Code::new(types, &[], &[], exhaust(layout)),
        Code::new(types, &[I64], &[I64], slow(layout, hook)),
        Code::new(types, &[], &[], check(layout)),
        Code::new(types, &[I64], &[], afford(layout)),
        Code::new(types, &[I64], &[], pay(layout)),
        Code::new(types, &[I64], &[], unreachable(layout)),
        Code::new(types, &[], &[], overflow(layout)),
        Code::new(types, &[I64], &[], bounded(layout)),
        Code::new(types, &[ValType::I32], &[], sum(layout)),
    ]
}

/// A stand-in for an import: looks at the fuel first, so that nothing a guest could not pay for
/// reaches the host, whether it is called directly or through a table.
pub(super) struct Thunk<'a> {
    pub import: u32,
    pub ty: &'a FuncType,
    pub cost: HostCost,
}

impl Thunk<'_> {
    pub(super) fn code(&self, layout: &Layout) -> wasm_encoder::Function {
        function(&[ValType::I32], |code| {
            match self.cost.base {
                0 => code.call(layout.runtime.check),
                base => code.i64_const(base.into()).call(layout.runtime.pay),
            };
            for (param, _) in (0..).zip(self.ty.params()) {
                code.local_get(param);
            }
            code.call(self.import);
            self.bytes(code, layout);
        })
    }

    /// Pays for what a call that succeeded has moved. Its answer is on the operand stack.
    fn bytes(&self, code: &mut InstructionSink<'_>, layout: &Layout) {
        let answer = count(self.ty.params().len());
        let answers = self.ty.results() == [wasmparser::ValType::I32];
        let param = match self.cost.moved {
            Moved::Given(param) | Moved::Answered(param) => self.ty.params().get(param as usize),
            Moved::Nothing => None,
        };
        let (Some(ty), true, 1..) = (param, answers, self.cost.byte) else { return };
        code.local_tee(answer).i32_eqz().if_(BlockType::Empty);
        match self.cost.moved {
            Moved::Answered(param) => {
                let arg = MemArg { offset: 0, align: 0, memory_index: 0 };
                code.local_get(param).i64_load32_u(arg)
            }
            Moved::Given(param) if *ty == wasmparser::ValType::I64 => code.local_get(param),
            Moved::Given(param) => code.local_get(param).i64_extend_i32_u(),
            Moved::Nothing => code,
        };
        // A host that succeeded has moved less than 2³² bytes; the mask keeps the product in range.
        code.i64_const(u32::MAX.into()).i64_and().i64_const(self.cost.byte.into()).i64_mul();
        code.call(layout.runtime.pay).end().local_get(answer);
    }
}

/// Stops for a reason of the meter's own. Leaves the operand stack polymorphic.
pub(super) fn stop_for(code: &mut InstructionSink<'_>, layout: &Layout, cause: Cause) {
    code.i32_const(cause.code()).call(layout.runtime.stop).unreachable();
}

fn stop(layout: &Layout) -> wasm_encoder::Function {
    function(&[], |code| {
        code.local_get(0).global_set(layout.globals.cause).unreachable();
    })
}

fn exhaust(layout: &Layout) -> wasm_encoder::Function {
    let globals = layout.globals;
    function(&[], |code| {
        code.global_get(globals.limit).global_set(globals.mark);
        code.i64_const(0).global_set(globals.count);
        stop_for(code, layout, Cause::Exhausted);
    })
}

fn slow(layout: &Layout, hook: u32) -> wasm_encoder::Function {
    match layout.control {
        Some(control) => function(&[], |code| {
            poll(code, layout, control, 0);
            code.local_get(0);
        }),
        None => call_hook(layout, hook),
    }
}

/// The slow way where slices are polled, written out where it is needed: calls nothing that returns.
/// The count is in a local and left there, flushed.
pub(super) fn poll(code: &mut InstructionSink<'_>, layout: &Layout, control: u32, local: u32) {
    let (globals, at) = (layout.globals, |offset: u32| MemArg {
        offset: offset.into(),
        align: 3,
        memory_index: control,
    });
    code.local_get(local).global_get(globals.mark).i64_add().local_tee(local);
    code.i32_const(0).i64_load(at(BOUND_AT)).i64_gt_s();
    // Whatever the host says, the limit holds.
    code.local_get(local).global_get(globals.limit).i64_gt_s().i32_or().if_(BlockType::Empty);
    code.local_get(local).call(layout.runtime.bounded).unreachable().end();
    code.i32_const(0).local_get(local).i64_store(at(PROGRESS_AT));
    // The next multiple of the slice above the fuel, but never beyond the limit.
    code.local_get(local).i64_const(SLICE.cast_signed() - 1).i64_or().i64_const(1).i64_add();
    code.global_set(globals.mark);
    code.global_get(globals.limit).global_get(globals.mark).i64_lt_s().if_(BlockType::Empty);
    code.global_get(globals.limit).global_set(globals.mark).end();
    code.local_get(local).global_get(globals.mark).i64_sub().local_tee(local);
    code.global_set(globals.count);
}

fn bounded(layout: &Layout) -> wasm_encoder::Function {
    const FUEL: u32 = 0;
    let globals = layout.globals;
    function(&[], |code| {
        code.local_get(FUEL).global_get(globals.limit).i64_gt_s().if_(BlockType::Empty);
        code.call(layout.runtime.exhaust).end();
        code.local_get(FUEL).global_get(globals.mark).i64_sub().global_set(globals.count);
        stop_for(code, layout, Cause::Hook);
    })
}

fn call_hook(layout: &Layout, hook: u32) -> wasm_encoder::Function {
    const COUNT: u32 = 0;
    const FUEL: u32 = 1;
    const MARK: u32 = 2;
    let globals = layout.globals;
    function(&[I64, I64], |code| {
        code.local_get(COUNT).global_get(globals.mark).i64_add().local_tee(FUEL);
        code.global_get(globals.limit).i64_gt_s();
        code.if_(BlockType::Empty).call(layout.runtime.exhaust).end();
        // The next multiple of the slice above the fuel, but never beyond the limit.
        code.local_get(FUEL).i64_const(SLICE.cast_signed() - 1).i64_or();
        code.i64_const(1).i64_add().local_tee(MARK).global_get(globals.limit);
        code.local_get(MARK).global_get(globals.limit).i64_lt_s().select();
        code.local_tee(MARK).global_set(globals.mark);
        code.local_get(FUEL).local_get(MARK).i64_sub().global_set(globals.count);
        code.i32_const(0).table_get(layout.hooks).ref_is_null().if_(BlockType::Empty);
        stop_for(code, layout, Cause::NullHook);
        code.end();
        // Should the hook not return, the host finds whose doing it was.
        code.i32_const(Cause::Hook.code()).global_set(globals.cause);
        code.local_get(FUEL).i32_const(0).call_indirect(layout.hooks, hook);
        code.i32_const(Cause::None.code()).global_set(globals.cause);
        code.global_get(globals.count);
    })
}

fn check(layout: &Layout) -> wasm_encoder::Function {
    let count = layout.globals.count;
    function(&[], |code| {
        code.global_get(count).i64_const(0).i64_gt_s().if_(BlockType::Empty);
        code.global_get(count).call(layout.runtime.slow).drop().end();
    })
}

fn afford(layout: &Layout) -> wasm_encoder::Function {
    let globals = layout.globals;
    function(&[], |code| {
        code.global_get(globals.mark).global_get(globals.count).i64_add();
        code.local_get(0).i64_add().global_get(globals.limit).i64_gt_s();
        code.if_(BlockType::Empty).call(layout.runtime.exhaust).end();
    })
}

fn pay(layout: &Layout) -> wasm_encoder::Function {
    let count = layout.globals.count;
    function(&[], |code| {
        code.global_get(count).local_get(0).i64_add().global_set(count);
        code.call(layout.runtime.check);
    })
}

fn unreachable(layout: &Layout) -> wasm_encoder::Function {
    function(&[], |code| {
        code.local_get(0).global_set(layout.globals.count).call(layout.runtime.check);
        stop_for(code, layout, Cause::Unreachable);
    })
}

fn overflow(layout: &Layout) -> wasm_encoder::Function {
    function(&[], |code| {
        // The caller flushed before its call, so the count is exact already.
        code.call(layout.runtime.check);
        stop_for(code, layout, Cause::StackOverflow);
    })
}

/// The product can have 78 bits: it is taken in two halves, and the sum stays at 2⁶⁴−1.
fn sum(layout: &Layout) -> wasm_encoder::Function {
    const PAGES: u32 = 0;
    const SINCE: u32 = 1;
    const LOW: u32 = 2;
    const HIGH: u32 = 3;
    let globals = layout.globals;
    function(&[I64, I64, I64], |code| {
        code.global_get(globals.mark).global_get(globals.count).i64_add().local_tee(SINCE);
        code.local_get(SINCE).global_get(globals.grown).i64_sub().local_set(SINCE);
        code.global_set(globals.grown);
        code.local_get(SINCE).i64_const(u32::MAX.into()).i64_and();
        code.local_get(PAGES).i64_extend_i32_u().i64_mul().local_set(LOW);
        code.local_get(SINCE).i64_const(32).i64_shr_u();
        code.local_get(PAGES).i64_extend_i32_u().i64_mul();
        code.local_get(LOW).i64_const(32).i64_shr_u().i64_add().local_set(HIGH);
        // What is added: the halves put together, or everything if the high one has more than 32 bits.
        code.local_get(HIGH).i64_const(32).i64_shl();
        code.local_get(LOW).i64_const(u32::MAX.into()).i64_and().i64_or().i64_const(-1);
        code.local_get(HIGH).i64_const(32).i64_shr_u().i64_eqz().select();
        code.local_tee(LOW).global_get(globals.integral).i64_add().i64_const(-1);
        code.local_get(LOW).global_get(globals.integral).i64_add().local_get(LOW);
        code.i64_ge_u().select().global_set(globals.integral);
    })
}
