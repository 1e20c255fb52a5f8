//! `memory.grow` and `table.grow`: the run's limit decides, the engine only carries out.

use crate::host::{Grant, Guest, Notes, metered};
use tallymill_meter::abi::Cause;
use wasmtime::{Engine, Module, StoreLimitsBuilder, Val};

const MEMORY: &str = r#"(module (memory (export "m") 1 10)
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) memory.size))"#;

const TABLE: &str = r#"(module (table 2 100 funcref)
    (func (export "grow") (param i32) (result i32)
        (table.grow (ref.null func) (local.get 0)))
    (func (export "size") (result i32) table.size))"#;

fn grow(guest: &mut Guest, by: i32) -> i32 {
    guest.call("grow", &[Val::I32(by)]).i32()
}

#[test]
fn memory_grows_up_to_the_limit_of_the_run() {
    let mut guest = Guest::new(MEMORY, Grant { pages: 5, ..Grant::default() });
    assert_eq!(grow(&mut guest, 0), 1);
    assert_eq!(grow(&mut guest, 4), 1);
    assert_eq!(grow(&mut guest, 1), -1);
    assert_eq!(grow(&mut guest, 0), 5);
    assert_eq!(guest.call("size", &[]).i32(), 5);
}

#[test]
fn memory_grows_up_to_its_own_maximum() {
    let mut guest = Guest::new(MEMORY, Grant { pages: 64, ..Grant::default() });
    assert_eq!(grow(&mut guest, 10), -1);
    assert_eq!(grow(&mut guest, 9), 1);
    assert_eq!(grow(&mut guest, 1), -1);
}

#[test]
fn growth_by_four_billion_is_refused_not_wrapped() {
    for wat in [MEMORY, TABLE] {
        let mut guest = Guest::new(wat, Grant { pages: -1, entries: -1, ..Grant::default() });
        assert_eq!(grow(&mut guest, -1), -1);
    }
    let unlimited = MEMORY.replace("1 10", "1");
    let mut guest = Guest::new(&unlimited, Grant { pages: -1, ..Grant::default() });
    assert_eq!(grow(&mut guest, 65_536), -1);
}

#[test]
fn tables_grow_up_to_both_limits() {
    let mut guest = Guest::new(TABLE, Grant { entries: 10, ..Grant::default() });
    assert_eq!(grow(&mut guest, 8), 2);
    assert_eq!(grow(&mut guest, 1), -1);
    let mut guest = Guest::new(TABLE, Grant { entries: 1_000, ..Grant::default() });
    assert_eq!(grow(&mut guest, 99), -1);
    assert_eq!(grow(&mut guest, 98), 2);
}

#[test]
fn elements_are_paid_when_the_table_grew() {
    let mut guest = Guest::new(TABLE, Grant::default());
    assert_eq!(grow(&mut guest, 98), 2);
    // Entry, the reference, the argument and the operator, and an element each.
    assert_eq!(guest.flushed(), 4 + 98);
    assert_eq!(grow(&mut guest, 1), -1);
    assert_eq!(guest.flushed(), 4 + 98 + 4);
}

#[test]
fn growth_beyond_the_fuel_does_not_happen() {
    let mut guest = Guest::new(TABLE, Grant::limit(4 + 97));
    assert_eq!(guest.call("grow", &[Val::I32(98)]).cause(), Cause::Exhausted);
    assert_eq!(guest.owed(), 4 + 97);
}

#[test]
fn an_engine_that_refuses_makes_the_run_void() {
    for (wat, by) in [(MEMORY, 2), (TABLE, 50)] {
        let limits = StoreLimitsBuilder::new().memory_size(2 << 16).table_elements(10).build();
        let module = Module::new(&Engine::default(), metered(wat).bytes).unwrap();
        let notes = Notes { limits, ..Notes::default() };
        let mut guest = Guest::from_module(&module, Grant::default(), notes).unwrap();
        let cause = guest.call("grow", &[Val::I32(by)]).cause();
        assert_eq!(cause, Cause::Growth);
        assert!(cause.is_void());
    }
}

#[test]
fn limits_that_the_host_forgets_are_zero() {
    let grant = Grant { pages: 0, entries: 0, ..Grant::default() };
    for wat in [MEMORY, TABLE] {
        assert_eq!(grow(&mut Guest::new(wat, grant), 0), -1);
    }
}
