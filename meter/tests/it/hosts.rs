//! What calls of host functions cost: a base before the call, bytes after one that succeeded.

use crate::host::{self, Grant, Guest};
use std::sync::LazyLock;
use tallymill_meter::abi::Cause;
use tallymill_meter::{CostTable, HostCost, Metered, Moved, Profile, Weights, meter};
use wasmtime::Val;

fn table(moved: Moved) -> CostTable {
    let host = |name, base, moved| HostCost { module: "env", name, base, byte: 3, moved };
    CostTable::new(
        7,
        &Weights {
            function: 1,
            operator: &|name| u32::from(name == "Call"),
            deciding: 0,
            back: 0,
            unit: &|_| 0,
            hosts: &[host("next", 50, Moved::Nothing), host("move", 20, moved)],
        },
    )
}

static GIVEN: LazyLock<CostTable> = LazyLock::new(|| table(Moved::Given(1)));
static ANSWERED: LazyLock<CostTable> = LazyLock::new(|| table(Moved::Answered(0)));
static ADDRESS: LazyLock<CostTable> = LazyLock::new(|| table(Moved::Given(0)));

const GUEST: &str = r#"(module
    (import "env" "next" (func $next (param i32) (result i32)))
    (import "env" "move" (func $move (param i32 i64) (result i32)))
    (memory (export "m") 1)
    (func (export "next") (param i32) (result i32) (call $next (local.get 0)))
    (func (export "move") (param i32 i64) (result i32) (call $move (local.get 0) (local.get 1))))"#;

fn metered(wat: &str, costs: &'static CostTable) -> Metered {
    meter(&wat::parse_str(wat).unwrap(), &Profile { costs, ..host::profile() }).unwrap()
}

fn moves(costs: &'static CostTable, at: i32, length: i64) -> (i32, u64) {
    let mut guest = Guest::instantiate(&metered(GUEST, costs), Grant::default());
    let answer = guest.call("move", &[Val::I32(at), Val::I64(length)]).i32();
    (answer, guest.flushed())
}

#[test]
fn a_call_pays_its_base_and_the_bytes_it_moved() {
    for costs in [&*GIVEN, &*ANSWERED] {
        assert_eq!(moves(costs, 64, 0), (0, 1 + 1 + 20));
        assert_eq!(moves(costs, 64, 1_000), (0, 1 + 1 + 20 + 3_000));
        assert_eq!(moves(costs, 64, 1_001), (8, 1 + 1 + 20));
    }
    assert_eq!(moves(&ADDRESS, 65_000, 1), (0, 1 + 1 + 20 + 3 * 65_000));
    let mut guest = Guest::instantiate(&metered(GUEST, &GIVEN), Grant::default());
    assert_eq!(guest.call("next", &[Val::I32(-1)]).i32(), 0);
    assert_eq!(guest.flushed(), 1 + 1 + 50);
}

#[test]
fn a_base_that_cannot_be_paid_keeps_the_call_from_the_host() {
    let metered = metered(GUEST, &GIVEN);
    for (limit, calls) in [(51, 0), (52, 1)] {
        let mut guest = Guest::instantiate(&metered, Grant::limit(limit));
        let end = guest.call("next", &[Val::I32(4)]);
        assert_eq!(guest.store.data().calls.len(), calls, "{end:?}");
        if calls == 0 {
            assert_eq!((end.cause(), guest.owed()), (Cause::Exhausted, limit));
        }
    }
}

#[test]
fn bytes_that_cannot_be_paid_end_the_run() {
    let mut guest = Guest::instantiate(&metered(GUEST, &GIVEN), Grant::limit(22 + 3 * 9 - 1));
    let end = guest.call("move", &[Val::I32(0), Val::I64(9)]);
    assert_eq!((end.cause(), guest.owed()), (Cause::Exhausted, 22 + 3 * 9 - 1));
}

#[test]
fn a_guest_without_memory_pays_no_bytes() {
    let wat = r#"(module (import "env" "move" (func $move (param i32 i64) (result i32)))
        (func (export "f")))"#;
    assert!(metered(wat, &ANSWERED).info.memory.is_none());
}
