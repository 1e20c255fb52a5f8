//! The functions of the meter that every module gets: the slow way of a check, the ways to stop,
//! and a thunk for every import.

use super::layout::{Layout, Types};
use super::{Code, function};
use crate::SLICE;
use crate::abi::Cause;
use wasm_encoder::{BlockType, InstructionSink, ValType};

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
    ]
}

/// A stand-in for an import: looks at the fuel first, so that nothing a guest could not pay for
/// reaches the host, whether it is called directly or through a table.
pub(super) fn thunk(layout: &Layout, import: u32, params: u32) -> wasm_encoder::Function {
    function(&[], |code| {
        code.call(layout.runtime.check);
        for param in 0..params {
            code.local_get(param);
        }
        code.call(import);
    })
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
