//! The section that tells engines which branches are hardly ever taken.

use crate::host::{ENGINE, Grant, Guest, metered, polled};
use tallymill_meter::meter;
use wasmparser::{KnownCustom, Parser, Payload};
use wasmtime::{Config, Engine, Module};

const GUEST: &str = r#"(module
    (import "env" "next" (func $next (param i32) (result i32)))
    (memory (export "m") 1)
    (func (export "f") (param f64 f64) (local i32)
        (loop $l
            (f64.store (i32.const 0) (f64.div (local.get 0) (local.get 1)))
            (if (local.get 2) (then (nop)))
            (br_if $l (i32.lt_u (local.tee 2 (call $next (local.get 2))) (i32.const 9)))))
    (func (nop)))"#;

/// For each function with hints its index, and what is at each place: the byte, and whether it is likely.
fn hints(bytes: &[u8]) -> Vec<(u32, Vec<(u8, bool)>)> {
    let mut bodies = Vec::new();
    let mut hints = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.unwrap() {
            Payload::CodeSectionEntry(body) => bodies.push(body.range().start),
            Payload::CustomSection(section) => {
                assert!(bodies.is_empty(), "the section must stand before the code");
                let KnownCustom::BranchHints(reader) = section.as_known() else {
                    panic!("{}", section.name());
                };
                hints = reader.into_iter().map(Result::unwrap).collect();
            }
            _ => {}
        }
    }
    let at = |function: u32, offset: u32| bytes[bodies[function as usize - 1] + offset as usize];
    hints
        .into_iter()
        .map(|function| {
            let places = function.hints.into_iter().map(Result::unwrap);
            let places = places.map(|hint| (at(function.func, hint.func_offset), hint.taken));
            (function.func, places.collect())
        })
        .collect()
}

#[test]
fn the_meters_own_branches_are_unlikely_and_no_others() {
    const NO: (u8, bool) = (0x04, false);
    const YES: (u8, bool) = (0x04, true);
    let found = hints(&metered(GUEST).bytes);
    // The stack, the entry's check, the loop's, and that of a number which may be a NaN; then the check of a leaf.
    assert_eq!(found, [(1, vec![NO, NO, NO, YES]), (2, vec![NO])]);
    let polled = meter(&wat::parse_str(GUEST).unwrap(), &polled()).unwrap();
    // Each check has the bound inside.
    let expected = [(1, vec![NO, NO, NO, NO, NO, YES]), (2, vec![NO, NO])];
    assert_eq!(hints(&polled.bytes)[..2], expected);
}

#[test]
fn only_ways_that_pay_are_hinted_of_the_guests() {
    // Neither way of this `if` is charged apart, and both begin with a number and a look at the counter.
    let wat = r#"(module (import "env" "next" (func $next (param i32) (result i32)))
        (func $f (param i64))
        (func (param i32)
            (if (local.get 0) (then (call $f (i64.const 1))) (else (call $f (i64.const 2))))))"#;
    assert_eq!(hints(&metered(wat).bytes)[1], (2, vec![(0x04, false); 2]), "stack and entry");
    let wat = r#"(module (import "env" "next" (func $next (param i32) (result i32)))
        (func $f (param i32 i32) (local i32)
        (block $out (loop $l
            (br_if $out (local.get 1))
            (local.set 2 (i32.const 3))
            (br_if $l (local.get 0))))))"#;
    assert_eq!(hints(&metered(wat).bytes), [(1, vec![(0x04, false); 3])], "entry, header, way out");
}

#[test]
fn an_engine_that_takes_hints_counts_the_same() {
    let mut config = Config::new();
    config.wasm_branch_hinting(true);
    let engine = Engine::new(&config).unwrap();
    let bytes = metered(GUEST).bytes;
    let run = |engine: &Engine| {
        let module = Module::new(engine, &bytes).unwrap();
        let mut guest =
            Guest::from_module(&module, Grant::default(), crate::host::Notes::default()).unwrap();
        guest.call("f", &[wasmtime::Val::F64(0), wasmtime::Val::F64(0)]);
        (guest.flushed(), guest.memory()[..8].to_vec())
    };
    assert_eq!(run(&engine), run(&ENGINE));
}
