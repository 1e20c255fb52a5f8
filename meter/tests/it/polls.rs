//! Slices that end with a look at the control memory instead of a call.

use crate::host::{ENGINE, End, Grant, Guest, Notes, polled, profile};
use tallymill_meter::abi::{self, Cause};
use tallymill_meter::{SLICE, meter};
use wasmparser::{Operator, Parser, Payload};
use wasmtime::{Module, Val};

/// Spins until its argument is 0.
const SPIN: &str = r#"(module
    (global $left (mut i64) (i64.const 0))
    (func (export "f") (param i64)
        (global.set $left (local.get 0))
        (loop $l
            (global.set $left (i64.sub (global.get $left) (i64.const 1)))
            (br_if $l (i64.ne (global.get $left) (i64.const 0))))))"#;

fn guest(wat: &str, grant: Grant) -> Guest {
    let metered = meter(&wat::parse_str(wat).unwrap(), &polled()).unwrap();
    let module = Module::new(&ENGINE, &metered.bytes).unwrap();
    Guest::from_module(&module, grant, Notes::default()).unwrap()
}

fn progress(guest: &mut Guest) -> u64 {
    let control = guest.instance.get_memory(&mut guest.store, abi::CONTROL).unwrap();
    let at = abi::PROGRESS_AT as usize;
    u64::from_le_bytes(control.data(&guest.store)[at..at + 8].try_into().unwrap())
}

#[test]
fn the_fuel_of_the_last_slice_stands_in_the_control_memory() {
    let mut guest = guest(SPIN, Grant::default());
    assert!(matches!(guest.call("f", &[Val::I64(1_000_000)]), End::Returned(_)));
    let (fuel, progress) = (guest.flushed(), progress(&mut guest));
    assert!(fuel > SLICE && progress / SLICE == fuel / SLICE, "{progress} of {fuel}");
    assert!(progress % SLICE < 100, "{progress} is not just behind a slice's end");
    assert!(guest.store.data().hooks.is_empty(), "the hook was called");
}

#[test]
fn a_bound_below_the_fuel_ends_the_run_at_its_next_slice() {
    for (bound, slices) in
        [(abi::STOP, 0), (0, 0), (1, 0), (1_000_000, 1), (2 * SLICE.cast_signed(), 2)]
    {
        let mut guest = guest(SPIN, Grant::default());
        guest.bound(bound);
        assert_eq!(guest.call("f", &[Val::I64(1 << 40)]).cause(), Cause::Hook, "{bound}");
        let fuel = guest.owed();
        assert!(fuel / SLICE == slices && fuel % SLICE < 100, "{fuel} with {bound}");
    }
}

#[test]
fn a_limit_is_found_whatever_the_bound_says() {
    for bound in [5, 5_000_000, abi::MAX_LIMIT.cast_signed()] {
        let mut guest = guest(SPIN, Grant::limit(5));
        guest.bound(bound);
        assert_eq!(guest.call("f", &[Val::I64(1 << 40)]).cause(), Cause::Exhausted);
        assert_eq!(guest.owed(), 5);
    }
}

#[test]
fn imports_and_moves_look_as_well() {
    let wat = r#"(module (import "env" "next" (func $next (param i32) (result i32)))
        (memory (export "m") 1)
        (func (export "call") (drop (call $next (i32.const 1))))
        (func (export "fill") (param i32)
            (memory.fill (i32.const 0) (i32.const 1) (local.get 0))))"#;
    for (name, args) in [("call", vec![]), ("fill", vec![Val::I32(9)])] {
        let mut guest = guest(wat, Grant::default());
        // The function's own check has passed: what follows must look again.
        guest.set(abi::MARK, Val::I64(0));
        guest.bound(abi::STOP);
        assert_eq!(guest.call(name, &args).cause(), Cause::Hook);
        assert!(guest.store.data().calls.is_empty());
    }
}

#[test]
fn the_control_memory_is_nobody_elses() {
    let module = |wat: &str| {
        let metered = meter(&wat::parse_str(wat).unwrap(), &polled()).unwrap();
        Module::new(&ENGINE, &metered.bytes).unwrap()
    };
    let memories = |module: &Module| -> Vec<String> {
        let memories = module.exports().filter(|export| export.ty().memory().is_some());
        memories.map(|export| export.name().to_owned()).collect()
    };
    let with = module(r#"(module (memory (export "m") 3))"#);
    assert_eq!(memories(&with), ["m", abi::MEMORY, abi::CONTROL]);
    assert_eq!(memories(&module("(module)")), [abi::CONTROL]);
    let mut guest = Guest::from_module(&with, Grant::default(), Notes::default()).unwrap();
    assert_eq!(guest.memory().len(), 3 << 16);
    let other = meter(&wat::parse_str("(module (memory 1) (memory 1))").unwrap(), &polled());
    assert!(other.is_err(), "a guest has one memory");
}

/// Whether any function of the guest's calls one of the meter's, as far as it can return.
fn calls_in_loops(bytes: &[u8], own: u32) -> bool {
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        let Payload::CodeSectionEntry(body) = payload.unwrap() else { continue };
        functions += 1;
        if functions > own {
            break;
        }
        let ops: Vec<_> =
            body.get_operators_reader().unwrap().into_iter().map(Result::unwrap).collect();
        if ops.windows(2).any(|pair| {
            matches!(pair[0], Operator::Call { .. }) && !matches!(pair[1], Operator::Unreachable)
        }) {
            return true;
        }
    }
    false
}

#[test]
fn no_check_calls_what_may_return() {
    let original = wat::parse_str(SPIN).unwrap();
    let hooked = meter(&original, &profile()).unwrap();
    let polled = meter(&original, &polled()).unwrap();
    assert!(calls_in_loops(&hooked.bytes, 1));
    assert!(!calls_in_loops(&polled.bytes, 1));
}
