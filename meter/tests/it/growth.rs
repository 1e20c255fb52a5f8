//! `memory.grow` and `table.grow`: the run's limit decides, the engine only carries out.

use crate::host::{Grant, Guest, Notes, metered};
use tallymill_meter::abi;
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

/// Entry and what a call of `grow` or `size` weighs.
const CALL: u64 = 3;

#[test]
fn memory_times_fuel_is_summed_at_each_growth_and_at_the_end() {
    let mut guest = Guest::new(MEMORY, Grant::default());
    assert_eq!(guest.memory_fuel(), 0);
    grow(&mut guest, 2);
    assert_eq!(guest.memory_fuel(), CALL);
    guest.call("size", &[]);
    assert_eq!(guest.memory_fuel(), CALL + 3 * 2);
    // A growth by nothing, one that is refused, and one that succeeds, all with three pages.
    for by in [0, 100, 1] {
        grow(&mut guest, by);
    }
    assert_eq!(guest.memory_fuel(), CALL + 3 * (2 + 3 * CALL));
    guest.call("size", &[]);
    assert_eq!(guest.memory_fuel(), CALL + 3 * (2 + 3 * CALL) + 4 * 2);
}

/// The integral after one growth, from these values of fuel used so far, fuel at the last growth, and
/// sum so far; and the same by plain arithmetic.
fn summed(used: u64, grown: u64, sum: u64) -> (u64, u64) {
    let mut guest = Guest::new(MEMORY, Grant::default());
    grow(&mut guest, 6);
    let count = guest.flushed();
    guest.set(abi::MARK, Val::I64(used.cast_signed()));
    guest.set(abi::COUNT, Val::I64(0));
    guest.set(abi::GROWN, Val::I64(grown.cast_signed()));
    guest.set(abi::INTEGRAL, Val::I64(sum.cast_signed()));
    grow(&mut guest, 1);
    let exact = u128::from(sum) + 7 * u128::from(used + count - grown);
    (guest.integral(), u64::try_from(exact).unwrap_or(u64::MAX))
}

#[test]
fn a_sum_beyond_64_bits_stays_at_the_largest() {
    let most = 1 << 61;
    for (used, grown, sum) in [
        (1 << 40, 5, 7),
        (0xffff_ffff, 0, 0),
        (most, 0, 0),
        (most, most - 1, u64::MAX - 100),
        (most, most - 1, u64::MAX - 20),
        (most, 0, 1 << 63),
        (most, 0, u64::MAX),
    ] {
        let (module, exact) = summed(used, grown, sum);
        assert_eq!(module, exact, "{used} {grown} {sum}");
    }
    assert_eq!(summed(most, 0, 1 << 63).0, u64::MAX);
}

#[test]
fn a_growth_is_not_summed_beyond_the_limit() {
    // The charge that goes too far is that of the branch: nothing but the growth's own look sees it.
    let wat = r#"(module (memory (export "m") 1)
        (func (export "f") (result i32) (if (result i32) (i32.const 1)
            (then (memory.grow (i32.const 1))) (else (i32.const 0)))))"#;
    let mut guest = Guest::new(wat, Grant::limit(4));
    assert_eq!(guest.run("f").cause(), Cause::Exhausted);
    assert_eq!((guest.memory().len(), guest.memory_fuel()), (1 << 16, 4));
}
