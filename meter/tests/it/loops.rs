//! Loops that are paid before they run: the fuel is that of loops paid round by round, in every outcome.

use crate::host::{ENGINE, Grant, Guest, Notes, metered, polled, profile};
use tallymill_meter::abi::{self, Cause};
use tallymill_meter::{SLICE, meter, meter_plain_loops};
use wasmtime::{Module, Val};

/// What can be seen of a run.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    end: String,
    flushed: u64,
    owed: u64,
    hooks: Vec<i64>,
    memory: Vec<u8>,
}

fn seen(module: &Module, args: &[i32], grant: Grant, used: u64) -> Seen {
    let mut guest = Guest::from_module(module, grant, Notes::default()).unwrap();
    guest.set(abi::MARK, Val::I64(used.cast_signed()));
    let args: Vec<_> = args.iter().map(|arg| Val::I32(*arg)).collect();
    let end = guest.call("f", &args);
    let exhausted = matches!(end, crate::host::End::Stopped(Cause::Exhausted, _));
    Seen {
        end: format!("{end:?}"),
        flushed: guest.flushed(),
        owed: guest.owed(),
        hooks: guest.store.data().hooks.clone(),
        // What an exhausted run has done in its last rounds is nobody's business.
        memory: if exhausted { Vec::new() } else { guest.memory()[..4096].to_vec() },
    }
}

/// A loop that counts local 0 by a step while it compares like this with local 1.
fn counts(step: i32, compare: &str, swapped: bool) -> String {
    let next = format!("(local.tee 0 (i32.add (local.get 0) (i32.const {step})))");
    let condition = match (compare, swapped) {
        ("nonzero", _) => next,
        (_, false) => format!("(i32.{compare} {next} (local.get 1))"),
        (_, true) => format!("(i32.{compare} (local.get 1) {next})"),
    };
    format!(
        r#"(module (memory (export "m") 1) (global $sum (export "sum") (mut i32) (i32.const 0))
            (func (export "f") (param i32 i32 i32) (result i32) (local i32)
                (if (local.get 2) (then (drop (i32.const 0)) (drop (i32.const 0))))
                (loop $l
                    (local.set 3 (i32.add (local.get 3) (i32.mul (local.get 0) (i32.const 3))))
                    (br_if $l {condition}))
                (i32.store (i32.const 0) (local.get 3))
                (local.get 0)))"#
    )
}

struct Pair {
    ahead: Module,
    plain: Module,
    polled: Module,
}

impl Pair {
    fn new(wat: &str) -> Self {
        let plain = meter_plain_loops(&wat::parse_str(wat).unwrap(), &profile()).unwrap();
        assert!(loops(&metered(wat).bytes) > loops(&plain.bytes), "not paid ahead: {wat}");
        Self::same_or_not(wat)
    }

    fn same_or_not(wat: &str) -> Self {
        let original = wat::parse_str(wat).unwrap();
        let ahead = meter(&original, &profile()).unwrap();
        let plain = meter_plain_loops(&original, &profile()).unwrap();
        let polled = meter(&original, &polled()).unwrap();
        let compile = |bytes: &[u8]| Module::new(&ENGINE, bytes).unwrap();
        let [ahead, plain, polled] = [ahead, plain, polled].map(|module| compile(&module.bytes));
        Self { ahead, plain, polled }
    }

    fn agree(&self, args: &[i32], limit: u64, used: u64) -> Seen {
        let grant = Grant::limit(limit);
        let plain = seen(&self.plain, args, grant, used);
        assert_eq!(seen(&self.ahead, args, grant, used), plain, "{args:?} {limit} {used}");
        let polled = Seen { hooks: plain.hooks.clone(), ..seen(&self.polled, args, grant, used) };
        assert_eq!(polled, plain, "{args:?} {limit} {used}");
        plain
    }
}

/// Numbers near the ends and the middle of the range, and near each other.
const NUMBERS: [i32; 14] =
    [0, 1, 2, 7, 12, 100, 999, i32::MAX, i32::MAX - 1, i32::MIN, i32::MIN + 3, -1, -2, -1000];

#[test]
fn every_comparison_and_step_counts_like_the_plain_loop() {
    let up = ["ne", "lt_s", "lt_u", "le_s", "le_u"];
    let down = ["ne", "gt_s", "gt_u", "ge_s", "ge_u"];
    for step in [1, 3, 8, 1_000_003, -1, -4, -5] {
        let (forward, backward) = if step > 0 { (up, down) } else { (down, up) };
        let all = forward.map(|compare| (compare, false)).into_iter();
        let all = all.chain(backward.map(|compare| (compare, true)));
        for (compare, swapped) in all.chain([("nonzero", false)]) {
            let pair = Pair::new(&counts(step, compare, swapped));
            for (at, from) in NUMBERS.iter().enumerate() {
                // Not all pairs, but over all steps and comparisons every one.
                for to in NUMBERS.iter().skip(at % 3).step_by(3) {
                    pair.agree(&[*from, *to, 0], 3_000, 0);
                }
            }
        }
    }
}

#[test]
fn rounds_that_cross_slices_and_limits_count_like_the_plain_loop() {
    for (step, compare) in [(1, "ne"), (3, "lt_u"), (-2, "gt_s")] {
        let pair = Pair::new(&counts(step, compare, false));
        let rounds = 300_000;
        let args = [0, step * rounds, 1];
        let total = pair.agree(&args, abi::MAX_LIMIT, 0).flushed;
        for used in [0, 1, SLICE - 1, SLICE - 5, SLICE - 100, SLICE - total / 2, 3 * SLICE - total]
        {
            for limit in [abi::MAX_LIMIT, used + total, used + total - 1, used + 7, used + 5_000] {
                pair.agree(&args, limit, used);
            }
        }
        // Many slices.
        let far = [0, (step * 2_000_000), 0];
        assert!(pair.agree(&far, abi::MAX_LIMIT, 0).hooks.len() > 2);
        pair.agree(&far, 5 * SLICE / 2 + 77, 0);
    }
}

#[test]
fn a_step_in_a_local_counts_like_the_plain_loop() {
    let ways = [("lt_u", false), ("le_s", false), ("ge_u", true), ("gt_s", false), ("lt_u", true)];
    let ways = ways.into_iter().flat_map(|way| [(way, "i32.add"), (way, "i32.sub")]);
    for ((compare, swapped), operator) in ways {
        let wat = counts(7, compare, swapped).replace(
            "(i32.add (local.get 0) (i32.const 7))",
            &format!("({operator} (local.get 0) (local.get 2))"),
        );
        let pair = Pair::new(&wat);
        for step in [1, 2, 3, 1_000, 0, -1, -7, i32::MIN, i32::MAX] {
            for (at, from) in NUMBERS.iter().enumerate() {
                for to in NUMBERS.iter().skip(at % 3).step_by(3) {
                    pair.agree(&[*from, *to, step], 3_000, 0);
                }
            }
        }
        for used in [0, SLICE - 1, SLICE - 1_000] {
            for args in [[0, 3_000_000, 3], [3_000_000, 0, -3]] {
                pair.agree(&args, used + 7_777_777, used);
                pair.agree(&args, used + 77_777, used);
            }
        }
    }
}

#[test]
fn what_follows_the_branch_back_happens_once() {
    let wat = r#"(module (memory (export "m") 1)
        (func (export "f") (param i32 i32 i32) (result i32)
            (block $out (block $far
                (loop $l
                    (local.set 2 (i32.add (local.get 2) (local.get 0)))
                    (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))
                    (local.set 2 (i32.mul (local.get 2) (i32.const 3)))
                    (br $far))
                (unreachable))
             (i32.store (i32.const 8) (local.get 2))
             (br $out))
            (local.get 2)))"#;
    let pair = Pair::new(wat);
    for rounds in [1, 2, 1_000, 900_000] {
        let total = pair.agree(&[rounds, 0, 0], abi::MAX_LIMIT, 5).flushed;
        pair.agree(&[rounds, 0, 0], total - 1, 5);
        pair.agree(&[rounds, 0, 0], total, 5);
    }
}

#[test]
fn traps_inside_owe_what_they_owe_in_the_plain_loop() {
    let wat = r#"(module (memory (export "m") 1)
        (func (export "f") (param i32 i32 i32) (result i32)
            (loop $l
                (i32.store8 (local.get 0) (i32.const 1))
                (br_if $l (i32.ne (local.get 1)
                    (local.tee 0 (i32.add (local.get 0) (i32.const 2))))))
            (local.get 0)))"#;
    let pair = Pair::new(wat);
    for from in [0, 60_000, 65_534, 70_000] {
        for used in [0, SLICE - 1, SLICE - 70, SLICE - 60_000] {
            for limit in [abi::MAX_LIMIT, used + 100, used + 300_000] {
                pair.agree(&[from, 200_000, 0], limit, used);
            }
        }
    }
}

#[test]
fn shapes_that_are_not_straight_lines_are_left_alone() {
    let step = "(local.tee 0 (i32.add (local.get 0) (i32.const 1)))";
    let whole = format!("(br_if 0 (i32.ne {step} (local.get 1)))");
    for body in [
        // A second way out with a value or of the function, a call, a bound or a counter that changes, a branch that is not the last.
        format!("(br_if 1 (local.get 0)) {whole}"),
        format!("(call $g) {whole}"),
        format!("(local.set 1 (i32.const 9)) {whole}"),
        format!("(local.set 0 (i32.const 9)) {whole}"),
        format!("{whole} (br_if 0 (local.get 1))"),
        // A step that is not a constant, where the counter may miss the bound.
        "(br_if 0 (i32.ne (local.get 1) (local.tee 0 (i32.add (local.get 0) (local.get 1)))))"
            .to_owned(),
        // Back to the top from within a block, another loop, a table of ways out, a step that not every round makes.
        format!("(block (br_if 1 (local.get 1))) {whole}"),
        format!("(loop) {whole}"),
        format!("(block (br_table 0 2 (local.get 1))) {whole}"),
        "(if (local.get 1) (then (local.set 0 (i32.add (local.get 0) (i32.const 1)))))
         (br_if 0 (i32.ne (local.get 0) (local.get 1)))"
            .to_owned(),
        format!("(br 1) {whole}"),
        format!("(memory.fill (local.get 0) (local.get 0) (local.get 1)) {whole}"),
        format!("(br_if 0 (i32.eq {step} (local.get 1)))"),
        format!("(br_if 0 (i32.gt_u {step} (local.get 1)))"),
        "(br_if 0 (i32.const 1))".to_owned(),
        "(br_if 0 (local.tee 0 (i32.sub (i32.const 1) (local.get 0))))".to_owned(),
        "(br_if 0 (i32.ne (local.get 0) (local.get 1)))".to_owned(),
    ] {
        let wat = format!(
            r#"(module (memory (export "m") 1) (func $g)
                (func (export "f") (param i32 i32) (loop {body})))"#
        );
        let plain = meter_plain_loops(&wat::parse_str(&wat).unwrap(), &profile()).unwrap();
        assert_eq!(loops(&metered(&wat).bytes), loops(&plain.bytes), "{body}");
    }
}

/// A loop that counts local 0 to local 1 and leaves where it is local 2, before or after the step.
fn leaves(step: &str, compare: &str, first: bool) -> String {
    let leave = "(br_if $out (i32.eq (local.get 0) (local.get 2)))";
    let (before, after) = if first { (leave, "") } else { ("", leave) };
    format!(
        r#"(module (memory (export "m") 1)
            (func (export "f") (param i32 i32 i32) (result i32) (local i32)
                (block $out (loop $l
                    (local.set 3 (i32.add (local.get 3) (i32.const 7)))
                    {before}
                    (local.set 0 (i32.add (local.get 0) {step}))
                    {after}
                    (i32.store (i32.const 4) (i32.mul (local.get 0) (local.get 3)))
                    (br_if $l (i32.{compare} (local.get 0) (local.get 1)))))
                (i32.store (i32.const 0) (local.get 3))
                (local.get 0)))"#
    )
}

#[test]
fn ways_out_of_a_loop_give_back_the_rounds_that_did_not_begin() {
    for (step, compare, sign) in [
        ("(i32.const 1)", "ne", 1),
        ("(i32.const 3)", "lt_u", 3),
        ("(i32.const -2)", "gt_s", -2),
        ("(i32.const -1)", "ne", -1),
    ] {
        for first in [true, false] {
            let wat = leaves(step, compare, first);
            let pair = Pair::new(&wat);
            for out in [0, 1, 2, 50, 299, 300, 301, -1] {
                for rounds in [1, 2, 300] {
                    let args = [0, rounds * sign, out * sign];
                    let total = pair.agree(&args, abi::MAX_LIMIT, 0).flushed;
                    for used in [1, SLICE - 1, SLICE - 20, SLICE - total / 2] {
                        for limit in [used + total, used + total - 1, used + total / 2] {
                            pair.agree(&args, limit, used);
                        }
                    }
                }
            }
            let far = pair.agree(&[0, 900_000 * sign, 700_000 * sign], abi::MAX_LIMIT, 3);
            assert!(far.hooks.len() > 1);
        }
    }
}

#[test]
fn unusual_ways_out_give_back_the_same() {
    let here = "(i32.eq (local.get 0) (local.get 2))";
    let step = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))";
    let until = "(br_if $l (i32.ne (local.get 0) (local.get 1)))";
    for inside in [
        // Before and after the step, by the counter as it steps, to the next round of an outer loop.
        format!(
            "(br_if $out {here}) {step} (br_if $out (i32.eq (local.get 3) (i32.const 40))) {until}"
        ),
        format!(
            "(br_if $out (i32.eq (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (local.get 2))) {until}"
        ),
        format!("(if {here} (then (local.set 2 (i32.const -9)) (br $far))) {step} {until}"),
        // A number that may be a NaN on the way out, and stores that wait inside.
        format!(
            "(local.set $x (f64.div (local.get $x) (local.get $x))) (br_if $out {here})
             (f64.store (i32.const 64) (f64.add (local.get $x) (f64.const 1)))
             (f64.store (i32.const 72) (f64.mul (local.get $x) (f64.const 2)))
             {step} {until}"
        ),
        // A trap of the engine's.
        format!(
            "(drop (i32.load (i32.sub (i32.const 65500) (i32.mul {here} (i32.const -90))))) (br_if $out (i32.eqz (local.get 1))) {step} {until}"
        ),
    ] {
        let wat = format!(
            r#"(module (memory (export "m") 1)
                (func (export "f") (param i32 i32 i32) (result i32) (local i32) (local $x f64)
                    (block $out (loop $far (loop $l
                        (local.set 3 (i32.add (local.get 3) (i32.const 1)))
                        {inside})))
                    (f64.store (i32.const 80) (local.get $x))
                    (i32.store (i32.const 0) (local.get 3))
                    (local.get 0)))"#
        );
        let pair = Pair::new(&wat);
        for out in [1, 2, 30, 59, 60, 61] {
            let args = [0, 60, out];
            let total = pair.agree(&args, abi::MAX_LIMIT, 0).flushed;
            for used in [1, SLICE - 1, SLICE - 20, SLICE - total / 2] {
                for limit in [used + total, used + total - 1, used + total / 2] {
                    pair.agree(&args, limit, used);
                }
            }
        }
    }
}

#[test]
fn ways_out_of_long_distances_and_steps_in_locals_give_back_the_same() {
    let wat = |step: &str, compare: &str| {
        format!(
            r#"(module (memory (export "m") 1)
                (func (export "f") (param i32 i32 i32) (result i32) (local i32)
                    (block $out (loop $l
                        (br_if $out (i32.eq (local.tee 3 (i32.add (local.get 3) (i32.const 1))) (i32.const 50)))
                        (local.set 0 ({step}))
                        (br_if $l (i32.{compare} (local.get 0) (local.get 1)))))
                    (local.get 0)))"#
        )
    };
    for (step, compare) in [
        ("i32.add (local.get 0) (i32.const 1)", "ne"),
        ("i32.add (local.get 0) (i32.const -1)", "ne"),
        ("i32.add (local.get 0) (i32.const 7)", "lt_u"),
        ("i32.sub (local.get 0) (i32.const 7)", "gt_s"),
        ("i32.add (local.get 0) (local.get 2)", "lt_s"),
        ("i32.sub (local.get 0) (local.get 2)", "gt_u"),
    ] {
        let pair = Pair::new(&wat(step, compare));
        for (from, to) in
            [(0, -1), (1, i32::MIN), (i32::MIN, i32::MAX), (-1, 0), (i32::MAX, -9), (3, 300)]
        {
            for by in [1, 1000, -3, 0x4000_0000] {
                for used in [1, SLICE - 40] {
                    pair.agree(&[from, to, by], used + 5_000, used);
                    pair.agree(&[from, to, by], used + 150, used);
                }
            }
        }
    }
}

#[test]
fn ways_inside_of_a_loop_pay_what_they_pay_in_the_plain_loop() {
    let padding = "(local.set 3 (i32.xor (i32.mul (local.get 3) (i32.const 31)) (local.get 0)))";
    let some = "(i32.and (local.get 0) (i32.const 6))";
    let here = "(i32.eq (local.get 0) (local.get 2))";
    for inside in [
        format!("(if {some} (then {padding} {padding}) (else {padding}))"),
        format!("(if {some} (then {padding}))"),
        format!("(block (br_if 0 {some}) {padding} (br_if 0 {here}) {padding}) {padding}"),
        format!("(block (block (block (br_table 0 1 2 1 {some})) {padding}) {padding} {padding})"),
        format!(
            "(drop (if (result i32) {some} (then {padding} (i32.const 1)) (else (i32.const 2))))"
        ),
        // Ways out: without a value, of the function, to a trap of the guest's, directly and past a call.
        format!("(if {here} (then {padding} (br $out)) (else {padding}))"),
        format!("(block (br_if $out {here}) (br_if 0 {some}) {padding})"),
        format!("(if {here} (then {padding} (return (local.get 3))))"),
        format!("(if {some} (then {padding} (if {here} (then (unreachable)))))"),
        format!("(block (block (br_if 0 {here}) {padding} (br 1)) (unreachable)) {padding}"),
        // An engine's own trap.
        format!("(if {some} (then (drop (i32.load (i32.mul {here} (i32.const -8))))))"),
    ] {
        let step = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))";
        for body in [format!("{inside} {step}"), format!("{step} {inside}")] {
            let wat = format!(
                r#"(module (memory (export "m") 1)
                    (func (export "f") (param i32 i32 i32) (result i32) (local i32)
                        (block $out (loop $l
                            (i32.store (i32.const 4) (local.get 0))
                            {body}
                            (br_if $l (i32.lt_u (local.get 0) (local.get 1)))))
                        (i32.store (i32.const 0) (local.get 3))
                        (local.get 0)))"#
            );
            let pair = Pair::new(&wat);
            for out in [0, 1, 7, 60, 61, -1] {
                for rounds in [1, 61] {
                    let args = [0, rounds, out];
                    let total = pair.agree(&args, abi::MAX_LIMIT, 0).flushed;
                    for used in [1, SLICE - 1, SLICE - 30, SLICE - total / 2] {
                        for limit in [used + total, used + total - 1, used + total / 2] {
                            pair.agree(&args, limit, used);
                        }
                    }
                }
            }
            let far = pair.agree(&[0, 700_000, 600_000], abi::MAX_LIMIT, 3);
            assert!(!far.hooks.is_empty());
        }
    }
}

#[test]
fn charges_that_were_moved_count_like_those_in_place() {
    let padding = "(local.set 3 (i32.xor (i32.mul (local.get 3) (i32.const 31)) (local.get 0)))";
    for body in [
        // What follows an `if` is paid before it, and what both ways have in common.
        format!("(if (local.get 1) (then {padding} {padding}) (else {padding})) {padding}"),
        format!("(if (local.get 1) (then {padding})) {padding}"),
        format!("(if (local.get 1) (then (return (i32.const 5))) (else {padding})) {padding}"),
        format!("(block (br_if 0 (local.get 1)) {padding} (br_if 0 (local.get 2)) {padding}) {padding}"),
        // Ways to `unreachable`, directly and past a call.
        format!("(block (block (br_if 0 (local.get 1)) {padding} (br 1)) (unreachable)) {padding}"),
        format!("(block (block (br_if 0 (local.get 1)) {padding} (br 1)) (call $g) (unreachable)) {padding}"),
        // A table of ways, some of which others lead to as well.
        format!(
            "(block (block (block (br_if 1 (local.get 2)) (br_table 0 1 2 1 (local.get 1))) {padding}) {padding} {padding}) {padding}"
        ),
        // A call and a loop between what could be paid together.
        format!("(if (local.get 1) (then (call $g) {padding})) {padding} (call $g) {padding}"),
        format!("{padding} (if (local.get 1) (then (loop {padding} (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 4))) (i32.const 90)))))) {padding}"),
        // Out of two loops at once, and on to the next round of the outer one.
        format!(
            "(block $out (loop $far (loop $near {padding}
                (br_if $out (i32.gt_u (local.tee 0 (i32.add (local.get 0) (i32.const 3))) (i32.const 60)))
                (br_if $far (i32.and (local.get 0) (local.get 1)))
                {padding} (br_if $near (local.get 2)))))
             {padding}"
        ),
        // Code that cannot be reached, though validation takes it for reachable.
        format!("(block (block (br 1)) {padding} (call $g) {padding}) {padding}"),
        // A value goes along with the branch.
        format!("(drop (loop (result i32) (block (result i32) (br_if 0 (i32.const 4) (local.get 1)) {padding}))) {padding}"),
    ] {
        let wat = format!(
            r#"(module (memory (export "m") 1) (func $g (i32.store (i32.const 16) (i32.const 1)))
                (func (export "f") (param i32 i32 i32) (result i32) (local i32)
                    {body} (i32.store (i32.const 0) (local.get 3)) (local.get 3)))"#
        );
        let pair = Pair::same_or_not(&wat);
        for args in [[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 2, 1], [0, 3, 3], [7, 8, 9]] {
            let total = pair.agree(&args, abi::MAX_LIMIT, 0).flushed;
            for used in [0, SLICE - 1, SLICE - 5, SLICE - total / 2, SLICE - total] {
                for limit in (0..total.min(80)).map(|left| used + total - left) {
                    pair.agree(&args, limit, used);
                }
            }
        }
    }
}

/// How many loops a module has.
fn loops(module: &[u8]) -> usize {
    let bodies = wasmparser::Parser::new(0).parse_all(module).filter_map(|payload| {
        let wasmparser::Payload::CodeSectionEntry(body) = payload.unwrap() else { return None };
        let operators = body.get_operators_reader().unwrap().into_iter();
        Some(operators.filter(|op| matches!(op, Ok(wasmparser::Operator::Loop { .. }))).count())
    });
    bodies.sum()
}
