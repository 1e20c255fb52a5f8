//! Guests that never end.

use super::text::{module, parse};
use super::{Guest, LITTLE, OUT_OF_FUEL};

pub(crate) fn guests() -> Vec<Guest> {
    vec![
        Guest::new("loop-empty", "a loop without anything in it", OUT_OF_FUEL, || {
            parse("(module (func (export \"_start\") (loop $again (br $again))))")
        }),
        Guest::new("loop-of-calls", "a loop that only calls", OUT_OF_FUEL, || {
            parse(
                "(module (func $f) (func (export \"_start\") (loop $again (call $f) (br $again))))",
            )
        }),
        Guest::new("loop-of-host-calls", "a loop that only calls the host", OUT_OF_FUEL, || {
            module(&["sched_yield"], "", "(loop $again (drop (call $sched_yield)) (br $again))")
        })
        .fuel(LITTLE),
        Guest::new("loop-by-table", "a br_table that always jumps back", OUT_OF_FUEL, || {
            parse(
                "(module (func (export \"_start\") (loop $again (br_table $again $again (i32.const 0)))))",
            )
        }),
        Guest::new(
            "loop-that-wraps",
            "a counted loop whose steps miss its bound for ever",
            OUT_OF_FUEL,
            || counted("(i32.const 2)", "i32.ne", "(i32.const 1)"),
        ),
        Guest::new(
            "loop-the-long-way",
            "a counted loop that goes around all 32-bit numbers",
            OUT_OF_FUEL,
            || counted("(i32.const -1)", "i32.ne", "(i32.const 1)"),
        ),
        Guest::new("loop-without-step", "a counted loop that adds zero", OUT_OF_FUEL, || {
            counted("(i32.const 0)", "i32.lt_u", "(i32.const 9)")
        }),
        Guest::new(
            "loop-in-loop",
            "counted loops, each within the next, with 2^96 rounds",
            OUT_OF_FUEL,
            nested,
        ),
        Guest::new("loop-in-start", "a start function that never ends", OUT_OF_FUEL, || {
            parse(
                "(module (func $s (loop $again (br $again))) (start $s) (func (export \"_start\")))",
            )
        }),
        Guest::new(
            "loop-of-traps",
            "a loop that divides, so that it may trap in every round",
            OUT_OF_FUEL,
            || {
                parse("(module (func (export \"_start\") (local $i i32) (loop $again
                (local.set $i (i32.add (i32.const 1) (i32.div_u (local.get $i) (i32.const 3)))) (br $again))))")
            },
        ),
    ]
}

/// An endless loop around one that the meter pays before it runs, if it can tell how many rounds it has.
fn counted(step: &str, compare: &str, bound: &str) -> Vec<u8> {
    parse(&format!(
        "(module (func (export \"_start\") (local $i i32) (local $sum i32)
            (loop $again (local.set $i (i32.const 0))
                (loop $round
                    (local.set $sum (i32.add (local.get $sum) (local.get $i)))
                    (br_if $round ({compare} (local.tee $i (i32.add (local.get $i) {step})) {bound})))
                (br $again))))"
    ))
}

fn nested() -> Vec<u8> {
    let inner = |n: u32, inside: &str| {
        format!(
            "(local.set ${n} (i32.const 0)) (loop $l{n} {inside}
                (br_if $l{n} (i32.ne (local.tee ${n} (i32.add (local.get ${n}) (i32.const 1))) (i32.const -1))))"
        )
    };
    let body = (0..3).fold(String::new(), |inside, n| inner(n, &inside));
    parse(&format!(
        "(module (func (export \"_start\") (local $0 i32) (local $1 i32) (local $2 i32) {body}))"
    ))
}
