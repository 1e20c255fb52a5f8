//! Screening limits: each one exactly reached, then exceeded, and named.

use crate::host::profile;
use tallymill_meter::{Limit, MeterError, Profile, Screen, meter};

/// Asserts that `at` passes and that `over` is refused for the limit, with these figures.
fn bounds(screen: Screen, at: &[u8], over: &[u8], expected: (Limit, u64, Option<u32>)) {
    let profile = Profile { screen, ..profile() };
    meter(at, &profile).unwrap();
    let error = meter(over, &profile).unwrap_err();
    let text = error.to_string();
    let MeterError::Screen { limit, value, max, offset, function } = error else {
        panic!("{text}")
    };
    assert_eq!((limit, value, function), expected);
    assert_eq!(max, u64::from(screen.max(limit)));
    assert_eq!(error.rule(), if limit == Limit::Frame { 5 } else { 12 });
    assert!(text.starts_with(&format!("rule {} (", error.rule())), "{text}");
    let place = function.map(|index| format!(" in function {index}")).unwrap_or_default();
    assert!(
        text.ends_with(&format!("at offset {offset}{place}: {value}, at most {max}")),
        "{text}"
    );
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// A module with one function of the given body.
fn body(text: &str) -> Vec<u8> {
    wat(&format!("(module (func {text}))"))
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let screen = Screen::default();
    for (limit, max) in [
        (Limit::ModuleBytes, 8 << 20),
        (Limit::Functions, 20_000),
        (Limit::Memories, 1),
        (Limit::Tables, 1),
        (Limit::TableEntries, 10_000_000),
        (Limit::Globals, 10_000),
        (Limit::BodyBytes, 256 << 10),
        (Limit::Locals, 1_000),
        (Limit::ControlDepth, 200),
        (Limit::LoopLocals, 20_000),
        (Limit::BrTable, 4_096),
        (Limit::Frame, 64 << 10),
    ] {
        assert_eq!(screen.max(limit), max, "{limit:?}");
    }
}

#[test]
fn module_bytes() {
    let module = |len: usize| {
        let data = |n| wat(&format!(r#"(module (memory 1) (data "{}"))"#, "a".repeat(n)));
        let base = data(1_000).len() - 1_000;
        data(len - base)
    };
    let screen = Screen { module_bytes: 2_000, ..Screen::default() };
    bounds(screen, &module(2_000), &module(2_001), (Limit::ModuleBytes, 2_001, None));
}

#[test]
fn functions_imported_ones_included() {
    let import = r#"(import "env" "next" (func (param i32) (result i32)))"#;
    let module = |n| wat(&format!("(module {import} {})", "(func)".repeat(n)));
    bounds(Screen::default(), &module(19_999), &module(20_000), (Limit::Functions, 20_001, None));
}

#[test]
fn memories_and_tables() {
    let module = |text: &str, n| wat(&format!("(module {})", text.repeat(n)));
    for (text, limit) in [("(memory 1)", Limit::Memories), ("(table 1 funcref)", Limit::Tables)] {
        bounds(Screen::default(), &module(text, 1), &module(text, 2), (limit, 2, None));
    }
}

#[test]
fn body_bytes() {
    // One byte for the count of local groups, one for the end.
    let module = |n: usize| body(&"nop ".repeat(n - 2));
    let expected = (Limit::BodyBytes, 262_145, Some(0));
    bounds(Screen::default(), &module(262_144), &module(262_145), expected);
}

#[test]
fn locals_parameters_included() {
    let module = |n: usize| body(&format!("(param i32) (local {})", "i32 ".repeat(n - 1)));
    let expected = (Limit::Locals, 1_001, Some(0));
    bounds(Screen::default(), &module(1_000), &module(1_001), expected);
}

#[test]
fn control_depth() {
    let module = |n: usize| body(&format!("{}{}", "block ".repeat(n), "end ".repeat(n)));
    let expected = (Limit::ControlDepth, 201, Some(0));
    bounds(Screen::default(), &module(200), &module(201), expected);
}

#[test]
fn loops_times_locals() {
    // 99 locals and the meter's counter.
    let module =
        |n: usize| body(&format!("(local {}) {}", "i32 ".repeat(99), "loop end ".repeat(n)));
    let expected = (Limit::LoopLocals, 20_100, Some(0));
    bounds(Screen::default(), &module(200), &module(201), expected);
}

#[test]
fn br_table_targets() {
    let module = |n: usize| body(&format!("(block (br_table {} 0 (i32.const 0)))", "0 ".repeat(n)));
    let expected = (Limit::BrTable, 4_097, Some(0));
    bounds(Screen::default(), &module(4_096), &module(4_097), expected);
}

#[test]
fn operands_count_into_the_frame() {
    // 64 bytes and 16 a slot: 4,092 slots fill 64 KiB, whether vectors or integers.
    let module = |n: usize| {
        let vector = "(v128.const i64x2 0 0) ";
        body(&format!("{}{}", vector.repeat(n), "drop ".repeat(n)))
    };
    let expected = (Limit::Frame, 65_552, Some(0));
    bounds(Screen::default(), &module(4_092), &module(4_093), expected);
}

#[test]
fn table_entries() {
    let module = |n: u32| wat(&format!("(module (func) (table {n} funcref))"));
    let (at, over) = (module(10_000_000), module(10_000_001));
    bounds(Screen::default(), &at, &over, (Limit::TableEntries, 10_000_001, None));
    let MeterError::Screen { offset, .. } = meter(&over, &profile()).unwrap_err() else { panic!() };
    assert_eq!(over[offset], 0x70, "the table's own type");
}

#[test]
fn globals() {
    let module = |n: usize| wat(&format!("(module {})", "(global i32 (i32.const 0))".repeat(n)));
    let expected = (Limit::Globals, 10_001, None);
    bounds(Screen::default(), &module(10_000), &module(10_001), expected);
}

#[test]
fn the_function_and_the_offset_are_those_of_the_original() {
    let import = r#"(import "env" "next" (func (param i32) (result i32)))"#;
    let blocks = format!("{}{}", "block ".repeat(201), "end ".repeat(201));
    let module = wat(&format!("(module {import} (func) (func nop {blocks}))"));
    let error = meter(&module, &profile()).unwrap_err();
    let MeterError::Screen { offset, function, .. } = error else { panic!("{error}") };
    assert_eq!(function, Some(2));
    // Every block is two bytes; the offset is that of the last one.
    assert_eq!(&module[offset - 2..offset + 4], [0x02, 0x40, 0x02, 0x40, 0x0b, 0x0b]);
}
