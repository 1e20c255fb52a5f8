//! What a module in steps gets beside: ways for its host to read and to set what the guest keeps between two steps.
//!
//! A float crosses the border as its bits, since hosts may have no way to hold a NaN's. References cross it as they are, and
//! the host compares them with the guest's functions, which stand behind the hook in its table.

use super::layout::{Layout, Types};
use super::{Code, function, mutable};
use crate::abi;
use crate::inspect::{Facts, Segment, State, count};
use wasm_encoder::{
    ConstExpr, ElementMode, ElementSection, ElementSegment, Elements, ExportKind, ExportSection,
    GlobalSection, GlobalType, InstructionSink, RefType, ValType,
};
use wasmparser::ValType as Type;

/// The types in which a global crosses the border.
fn crossing(ty: Type) -> &'static [ValType] {
    match ty {
        Type::V128 => &[ValType::I64, ValType::I64],
        Type::Ref(_) => &[ValType::FUNCREF],
        _ => &[ValType::I64],
    }
}

/// A type's name in the text format.
const fn name(ty: Type) -> &'static str {
    match ty {
        Type::I32 => "i32",
        Type::I64 => "i64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::V128 => "v128",
        Type::Ref(_) => "funcref",
    }
}

fn get(code: &mut InstructionSink<'_>, global: u32, ty: Type) {
    code.global_get(global);
    match ty {
        Type::I32 => code.i64_extend_i32_u(),
        Type::F32 => code.i32_reinterpret_f32().i64_extend_i32_u(),
        Type::F64 => code.i64_reinterpret_f64(),
        Type::V128 => code.i64x2_extract_lane(0).global_get(global).i64x2_extract_lane(1),
        Type::I64 | Type::Ref(_) => code,
    };
}

fn set(code: &mut InstructionSink<'_>, global: u32, ty: Type) {
    code.local_get(0);
    match ty {
        Type::I32 => code.i32_wrap_i64(),
        Type::F32 => code.i32_wrap_i64().f32_reinterpret_i32(),
        Type::F64 => code.f64_reinterpret_i64(),
        Type::V128 => code.i64x2_splat().local_get(1).i64x2_replace_lane(1),
        Type::I64 | Type::Ref(_) => code,
    };
    code.global_set(global);
}

/// Drops a segment and notes that it was.
pub(super) fn drop_segment(code: &mut InstructionSink<'_>, segment: Segment, flag: u32) {
    match segment {
        Segment::Data(index) => code.data_drop(index),
        Segment::Element(index) => code.elem_drop(index),
    };
    code.i32_const(1).global_set(flag);
}

/// For each mutable global a function that gives it and one that sets it, then for each segment one that drops it.
pub(super) fn functions(facts: &Facts, layout: &Layout, types: &mut Types) -> Vec<Code> {
    let mut all = Vec::new();
    for (global, ty) in facts.state.mutable.iter().copied() {
        let values = crossing(ty);
        let body = function(&[], |code| get(code, global, ty));
        all.push(Code::new(types, &[], values, body));
        let body = function(&[], |code| set(code, global, ty));
        all.push(Code::new(types, values, &[], body));
    }
    for segment in facts.state.drops.iter().copied() {
        let flag = layout.flag(segment);
        let body = function(&[], |code| {
            flag.into_iter().for_each(|flag| drop_segment(code, segment, flag));
        });
        all.push(Code::new(types, &[], &[], body));
    }
    all
}

/// For each segment that can be dropped whether it was, then how many of each kind there are.
pub(super) fn globals(globals: &mut GlobalSection, state: &State) {
    for _ in &state.drops {
        globals.global(mutable(ValType::I32), &ConstExpr::i32_const(0));
    }
    let constant = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
    for count in [state.data, state.elements] {
        globals.global(constant, &ConstExpr::i32_const(count.cast_signed()));
    }
}

/// Puts the guest's functions behind the hook, by their index; those that no reference can name are left null.
pub(super) fn references(elements: &mut ElementSection, facts: &Facts, layout: &Layout) {
    let entry = |index: u32| match facts.state.references.contains(&index) {
        true => ConstExpr::ref_func(layout.function(index)),
        false => ConstExpr::ref_null(wasm_encoder::HeapType::FUNC),
    };
    let entries: Vec<ConstExpr> = (0..facts.function_count()).map(entry).collect();
    let offset = ConstExpr::i32_const(1);
    elements.segment(ElementSegment {
        mode: ElementMode::Active { table: Some(layout.hooks), offset: &offset },
        elements: Elements::Expressions(RefType::FUNCREF, entries.into()),
    });
}

/// Exports all of it.
pub(super) fn exports(exports: &mut ExportSection, facts: &Facts, layout: &Layout) {
    if facts.table.is_some() {
        exports.export(abi::TABLE, ExportKind::Table, 0);
    }
    let (mut function, counts) = (layout.state.functions, layout.state.counts);
    let mut next = || {
        function += 1;
        function - 1
    };
    for (position, (_, ty)) in facts.state.mutable.iter().enumerate() {
        let name = format!("{}:{}", count(position), name(*ty));
        for kind in [abi::GET, abi::SET] {
            exports.export(&format!("{kind}{name}"), ExportKind::Func, next());
        }
    }
    for segment in facts.state.drops.iter().copied() {
        let (flag, drop, index) = match segment {
            Segment::Data(index) => (abi::DROPPED_DATA, abi::DROP_DATA, index),
            Segment::Element(index) => (abi::DROPPED_ELEMENT, abi::DROP_ELEMENT, index),
        };
        exports.export(&format!("{drop}{index}"), ExportKind::Func, next());
        if let Some(global) = layout.flag(segment) {
            exports.export(&format!("{flag}{index}"), ExportKind::Global, global);
        }
    }
    for (global, name) in (counts..).zip([abi::DATA, abi::ELEMENTS]) {
        exports.export(name, ExportKind::Global, global);
    }
}
