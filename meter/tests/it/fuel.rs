//! Counting, exhaustion, slices, traps, and how they are told apart.

use crate::host::{Grant, Guest, Hook, metered, profile, refused};
use tallymill_meter::abi::{self, Cause};
use tallymill_meter::{MeterError, SLICE, meter, trap_fuel};
use wasmtime::{Trap, Val};

/// Ends with the same total whether the limit is large or exactly that; stops one below it.
fn totals(wat: &str, total: u64) {
    for limit in [abi::MAX_LIMIT, total] {
        let mut guest = Guest::new(wat, Grant::limit(limit));
        assert!(matches!(guest.run("f"), crate::host::End::Returned(_)), "{wat}");
        assert_eq!(guest.flushed(), total, "{wat}");
        assert_eq!(guest.stack(), abi::STACK_BUDGET, "{wat}");
    }
    let mut guest = Guest::new(wat, Grant::limit(total - 1));
    assert_eq!(guest.run("f").cause(), Cause::Exhausted, "{wat}");
    assert_eq!((guest.flushed(), guest.owed()), (total - 1, total - 1), "{wat}");
}

#[test]
fn an_empty_function_costs_its_entry() {
    totals(r#"(module (func (export "f")))"#, 1);
}

#[test]
fn both_ways_of_an_if_cost_what_they_hold() {
    for (condition, total) in [(0, 3), (1, 6)] {
        // Entry, constant and if; the branch holds two constants and an addition.
        totals(
            &format!(
                r#"(module (func (export "f")
                    (if (i32.const {condition})
                        (then (drop (i32.add (i32.const 1) (i32.const 2)))))))"#
            ),
            total,
        );
    }
    for (condition, total) in [(0, 5), (1, 4)] {
        totals(
            &format!(
                r#"(module (func (export "f") (result i32)
                    (if (result i32) (i32.const {condition})
                        (then (i32.const 7))
                        (else (i32.eqz (i32.const 0))))))"#
            ),
            total,
        );
    }
}

#[test]
fn every_target_of_a_br_table_costs_its_own_way() {
    // Entry, the index and the br_table; then what stands behind the label taken.
    for (index, total) in [(0, 3 + 2), (1, 3 + 1), (2, 3), (9, 3)] {
        totals(
            &format!(
                r#"(module (func (export "f")
                    (block $c (block $b (block $a
                        (br_table $a $b $c $c (i32.const {index})))
                      (drop (i32.const 1)))
                     (drop (i32.const 1)))))"#
            ),
            total,
        );
    }
}

#[test]
fn blocks_with_parameters_and_several_results_keep_their_operands() {
    let wat = r#"(module
        (func $pair (param i32) (result i32 i64)
            local.get 0
            (block (param i32) (result i32 i64)
                i64.const 5
                (br_if 1 (local.get 0))
                drop drop
                i32.const 9
                i64.const 8
                return))
        (func (export "f") (param i32) (result i32)
            (call $pair (local.get 0))
            i32.wrap_i64
            i32.add))"#;
    for (argument, sum) in [(0, 17), (3, 8)] {
        let mut guest = Guest::new(wat, Grant::default());
        assert_eq!(guest.call("f", &[Val::I32(argument)]).i32(), sum);
        assert_eq!(guest.stack(), abi::STACK_BUDGET);
    }
}

#[test]
fn a_loop_is_checked_at_its_header() {
    let wat = r#"(module (func (export "f") (local i32)
        (loop $l (br_if $l (i32.ne (i32.const 1000)
            (local.tee 0 (i32.add (local.get 0) (i32.const 1))))))))"#;
    totals(wat, 1 + 7 * 1000);
}

#[test]
fn endless_loops_end_at_the_limit() {
    for body in ["(loop $l (br $l))", "(loop $l (loop $m (br_if $m (i32.const 1))) (br $l))"] {
        let mut guest =
            Guest::new(&format!(r#"(module (func (export "f") {body}))"#), Grant::limit(100_000));
        assert_eq!(guest.run("f").cause(), Cause::Exhausted);
        assert_eq!(guest.owed(), 100_000);
    }
}

#[test]
fn nothing_is_paid_out_of_a_limit_of_zero() {
    let mut guest = Guest::new(r#"(module (func (export "f")))"#, Grant::limit(0));
    assert_eq!(guest.run("f").cause(), Cause::Exhausted);
    assert_eq!(guest.owed(), 0);
}

// The charge that goes too far is that of a branch, which holds no check but the import's own.
#[test]
fn an_exhausted_run_does_not_reach_the_host() {
    let wat = |call: &str| {
        format!(
            r#"(module (import "env" "next" (func $next (param i32) (result i32)))
                (type $t (func (param i32) (result i32)))
                (table 1 funcref) (elem (i32.const 0) $next)
                (func (export "f") (result i32)
                    (if (result i32) (i32.const 1) (then {call}) (else (i32.const 0)))))"#
        )
    };
    let direct = (wat("(call $next (i32.const 5))"), 5);
    let through_table = (wat("(call_indirect (type $t) (i32.const 5) (i32.const 0))"), 6);
    for (wat, total) in [direct, through_table] {
        totals(&wat, total);
        let mut guest = Guest::new(&wat, Grant::limit(total - 1));
        assert_eq!(guest.run("f").cause(), Cause::Exhausted);
        assert!(guest.store.data().calls.is_empty());
        let mut guest = Guest::new(&wat, Grant::limit(total));
        assert_eq!(guest.run("f").i32(), 6);
        assert_eq!(guest.store.data().calls, [5]);
    }
}

#[test]
fn an_import_can_be_exported_again() {
    let wat = r#"(module (import "env" "next" (func $next (param i32) (result i32)))
        (export "f" (func $next)))"#;
    let mut guest = Guest::new(wat, Grant::default());
    assert_eq!(guest.call("f", &[Val::I32(1)]).i32(), 2);
}

#[test]
fn the_hook_is_called_once_a_slice() {
    let wat = r#"(module (func (export "f") (local i32)
        (loop $l (br_if $l (i32.ne (i32.const 2000000)
            (local.tee 0 (i32.add (local.get 0) (i32.const 1))))))))"#;
    let mut guest = Guest::new(wat, Grant::default());
    guest.run("f");
    let slices: Vec<_> =
        guest.store.data().hooks.iter().map(|fuel| fuel.cast_unsigned() / SLICE).collect();
    assert_eq!(guest.flushed() / SLICE, 3);
    // The first check of a run always looks; after that it is each slice in turn.
    assert_eq!(slices, [0, 1, 2, 3]);
}

#[test]
fn a_hook_that_fails_stops_the_run_within_its_slice() {
    let wat = r#"(module (func (export "f") (loop $l (br $l))))"#;
    let hook = Hook::FailsAt(2 * SLICE.cast_signed());
    let mut guest = Guest::new(wat, Grant { hook, ..Grant::default() });
    let end = guest.run("f");
    assert!(matches!(end, crate::host::End::Stopped(Cause::Hook, None)), "{end:?}");
    assert!(Cause::Hook.is_void());
    assert_eq!(guest.owed() / SLICE, 2);
}

#[test]
fn a_null_hook_ends_the_run_as_void() {
    let grant = Grant { hook: Hook::Null, ..Grant::default() };
    let mut guest = Guest::new(r#"(module (func (export "f")))"#, grant);
    let cause = guest.run("f").cause();
    assert_eq!(cause, Cause::NullHook);
    assert!(cause.is_void());
}

#[test]
fn unreachable_is_flushed_to_the_unit() {
    let wat = r#"(module (func (export "f") (drop (i32.const 1)) unreachable))"#;
    let mut guest = Guest::new(wat, Grant::default());
    assert_eq!(guest.run("f").cause(), Cause::Unreachable);
    assert_eq!((guest.flushed(), guest.owed()), (2, 2));
    let mut guest = Guest::new(wat, Grant::limit(1));
    assert_eq!(guest.run("f").cause(), Cause::Exhausted);
    assert_eq!(guest.owed(), 1);
    // Exhaustion is found before the `unreachable`, even where no check stood in between.
    let wat = r#"(module (func (export "f")
        (if (i32.const 1) (then (drop (i32.const 1)) unreachable))))"#;
    let mut guest = Guest::new(wat, Grant::limit(3));
    assert_eq!(guest.run("f").cause(), Cause::Exhausted);
    assert_eq!(guest.owed(), 3);
}

#[test]
fn a_trap_costs_the_rest_of_its_slice() {
    let wat = r#"(module (func $f (export "f") (param i32) (result i32)
            (i32.div_u (i32.const 1) (local.get 0)))
        (func (export "loop") (local i32)
            (loop $l (br_if $l (i32.ne (i32.const 2000000)
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))))))
            (drop (call $f (i32.const 0)))))"#;
    let mut guest = Guest::new(wat, Grant::default());
    assert_eq!(guest.call("f", &[Val::I32(0)]).trap(), Trap::IntegerDivisionByZero);
    assert_eq!(guest.owed(), SLICE);
    let mut guest = Guest::new(wat, Grant::limit(5));
    assert_eq!(guest.call("f", &[Val::I32(0)]).trap(), Trap::IntegerDivisionByZero);
    assert_eq!(guest.owed(), 5);
    let mut guest = Guest::new(wat, Grant::default());
    assert_eq!(guest.run("loop").trap(), Trap::IntegerDivisionByZero);
    assert_eq!(guest.owed(), 4 * SLICE);
    assert_eq!(guest.owed(), trap_fuel(guest.flushed(), abi::MAX_LIMIT));
}

#[test]
fn recursion_ends_at_the_same_depth_wherever_it_runs() {
    // Each frame: 64 bytes, 16 for the global's value on the operand stack, 16 for a constant.
    let wat = r#"(module (global $depth (export "depth") (mut i32) (i32.const 0))
        (func $f (export "f")
            (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
            (call $f)))"#;
    let mut guest = Guest::new(wat, Grant::default());
    assert_eq!(guest.run("f").cause(), Cause::StackOverflow);
    let depth = guest.instance.get_global(&mut guest.store, "depth").unwrap();
    let depth = depth.get(&mut guest.store).unwrap_i32();
    assert_eq!(depth, abi::STACK_BUDGET / (64 + 2 * 16));
    // Entry, four operators and the call, each time; all of it flushed.
    assert_eq!(guest.owed(), u64::from(depth.unsigned_abs()) * 6);
}

#[test]
fn exhaustion_is_found_before_an_overflow() {
    let wat = r#"(module (func $leaf) (func $big (local i64 i64 i64 i64) (call $leaf))
        (func (export "f") (if (i32.const 1) (then (call $big)))))"#;
    let grant = |limit| Grant { stack: 100, ..Grant::limit(limit) };
    assert_eq!(Guest::new(wat, grant(4)).run("f").cause(), Cause::StackOverflow);
    assert_eq!(Guest::new(wat, grant(3)).run("f").cause(), Cause::Exhausted);
}

#[test]
fn only_frames_that_others_can_stand_on_take_from_the_budget() {
    let run = |body: &str, stack| {
        let wat = format!(r#"(module (func $g) (func (export "f") (local i64 i64) {body}))"#);
        Guest::new(&wat, Grant { stack, ..Grant::default() }).run("f")
    };
    assert_eq!(run("(call $g)", 95).cause(), Cause::StackOverflow);
    assert!(matches!(run("(call $g)", 96), crate::host::End::Returned(_)));
    assert!(matches!(run("", 0), crate::host::End::Returned(_)));
}

#[test]
fn frames_are_given_back_on_every_way_out() {
    let wat = r#"(module (func $g)
        (func (export "f") (param i32)
            (call $g)
            (block
                (br_table 0 1 (local.get 0)))
            (return)))"#;
    // Label 1 is the function itself: leaving through it is a return.
    for argument in 0..3 {
        let mut guest = Guest::new(wat, Grant::default());
        guest.call("f", &[Val::I32(argument)]);
        assert_eq!(guest.stack(), abi::STACK_BUDGET);
    }
}

#[test]
fn the_start_function_waits_for_the_host() {
    let wat = r#"(module (memory (export "m") 1)
        (func $s (i32.store8 (i32.const 0) (i32.const 7)))
        (func (export "f"))
        (start $s))"#;
    let metered = metered(wat);
    assert!(metered.info.start_function);
    let mut guest = Guest::instantiate(&metered, Grant::default());
    assert_eq!(guest.memory()[0], 0);
    guest.call(abi::START, &[]);
    assert_eq!(guest.memory()[0], 7);
    assert_eq!(guest.flushed(), 4);
    assert_eq!(
        Guest::instantiate(&metered, Grant::limit(3)).run(abi::START).cause(),
        Cause::Exhausted
    );
}

#[test]
fn an_imported_start_function_works_too() {
    const UNIT: &[tallymill_meter::Import] =
        &[tallymill_meter::Import { module: "env", name: "go", params: &[], results: &[] }];
    let profile = tallymill_meter::Profile { imports: UNIT, ..profile() };
    let wat = r#"(module (import "env" "go" (func $go)) (start $go))"#;
    let metered = meter(&wat::parse_str(wat).unwrap(), &profile).unwrap();
    assert!(metered.info.start_function);
    assert_eq!(metered.info.imports, [("env".to_owned(), "go".to_owned())]);
}

#[test]
fn the_first_global_of_a_guest_without_globals_is_not_ours() {
    let module = r#"(module (func (global.set 0 (i64.const 0))))"#;
    assert!(matches!(refused(module), MeterError::Invalid { function: Some(0), .. }));
    let module = r#"(module (func (drop (table.get 0 (i32.const 0)))))"#;
    assert!(matches!(refused(module), MeterError::Invalid { function: Some(0), .. }));
    let module = r#"(module (func (call 1)))"#;
    assert!(matches!(refused(module), MeterError::Invalid { function: Some(0), .. }));
}

#[test]
fn a_run_resumes_from_its_mark() {
    let mut guest = Guest::new(r#"(module (func (export "f")))"#, Grant::default());
    guest.set(abi::MARK, Val::I64(1_000));
    guest.run("f");
    assert_eq!(guest.flushed(), 1_001);
    assert_eq!(guest.store.data().hooks, [1_001]);
}
