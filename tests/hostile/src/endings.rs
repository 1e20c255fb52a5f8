//! Guests that use up the stack, and those that end in odd ways: in their start function, with odd codes, through the host.

use tallymill_protocol::{Outcome, Trap};

use super::text::{module, parse};
use super::{Contained, Guest, LITTLE, OUT_OF_FUEL, OUT_OF_STACK, refused};

pub(crate) fn guests() -> Vec<Guest> {
    let mut guests = recursions();
    guests.extend(starts());
    guests.extend(ends());
    guests
}

fn recursions() -> Vec<Guest> {
    vec![
        Guest::new("recursion", "a function that calls itself", OUT_OF_STACK, || {
            parse("(module (func $f (call $f)) (func (export \"_start\") (call $f)))")
        }),
        Guest::new("recursion-of-two", "two functions that call each other", OUT_OF_STACK, || {
            parse(
                "(module (func $f (call $g)) (func $g (call $f)) (func (export \"_start\") (call $f)))",
            )
        }),
        Guest::new(
            "recursion-by-table",
            "a function that calls itself through a table",
            OUT_OF_STACK,
            || {
                parse("(module (type $t (func)) (table 1 funcref) (elem (i32.const 0) $f)
                (func $f (call_indirect (type $t) (i32.const 0))) (func (export \"_start\") (call $f)))")
            },
        ),
        Guest::new(
            "recursion-in-start",
            "a start function that calls itself",
            OUT_OF_STACK,
            || parse("(module (func $f (call $f)) (start $f) (func (export \"_start\")))"),
        ),
        Guest::new(
            "recursion-of-wide-frames",
            "recursion with 4,000 live v128 operands in each frame",
            OUT_OF_STACK,
            || vectors(4_000),
        ),
        Guest::new(
            "operands-5000",
            "5,000 live v128 operands in one frame",
            refused(5, "bytes of a call frame"),
            || vectors(5_000),
        ),
    ]
}

/// A function that holds so many vectors while it calls itself.
fn vectors(count: usize) -> Vec<u8> {
    let (loads, adds) = (
        "(v128.load (i32.const 0))".repeat(count),
        "(local.set $v (i32x4.add (local.get $v)))".repeat(count),
    );
    parse(&format!(
        "(module (memory 1) (func $f (local $v v128) {loads} (call $f) {adds} (v128.store (i32.const 0) (local.get $v)))
            (func (export \"_start\") (call $f)))"
    ))
}

const fn ends_with(outcome: Outcome) -> (Contained, &'static str) {
    (Contained::Ends(outcome), "start runs like any function, after the hooks are set")
}

fn starts() -> Vec<Guest> {
    vec![
        Guest::new(
            "trap-in-start",
            "a start function that traps",
            ends_with(Outcome::Trapped(Trap::Unreachable)),
            || parse("(module (func $s unreachable) (start $s) (func (export \"_start\")))"),
        ),
        Guest::new(
            "host-call-in-start",
            "a start function that writes and exits",
            ends_with(Outcome::Exited(7)),
            || {
                let fields = "(data (i32.const 0) \"\\08\\00\\00\\00\\01\\00\\00\\00\") (start $s) (func $s
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))) (call $proc_exit (i32.const 7)))";
                module(&["fd_write"], fields, "unreachable")
            },
        ),
        Guest::new(
            "segment-out-of-bounds",
            "a data segment that does not fit",
            (Contained::Ends(Outcome::Trapped(Trap::MemoryOutOfBounds)), "a trap at instantiation"),
            || {
                parse(
                    "(module (memory 1) (data (i32.const 65530) \"too long\") (func (export \"_start\")))",
                )
            },
        ),
        Guest::new(
            "start-that-is-none",
            "exports a memory as _start",
            refused(1, "not a function"),
            || parse("(module (memory (export \"_start\") 1))"),
        ),
        Guest::new(
            "start-with-arguments",
            "exports a _start that wants a number",
            refused(1, "without parameters"),
            || parse("(module (func (export \"_start\") (param i32)))"),
        ),
        Guest::new(
            "start-missing",
            "exports nothing to call",
            refused(1, "exports no function"),
            || parse("(module (memory (export \"memory\") 1) (func (export \"main\")))"),
        ),
    ]
}

fn ends() -> Vec<Guest> {
    let exit = |code| (Contained::Ends(Outcome::Exited(code)), "exit codes are bytes");
    vec![
        Guest::new("exit-code-too-large", "exits with code 0xffffff01", exit(1), || {
            module(&[], "", "(call $proc_exit (i32.const 0xffffff01))")
        }),
        Guest::new(
            "exit-in-the-middle",
            "exits in a call within a call within a loop",
            exit(255),
            || {
                let fields = "(func $f (call $g)) (func $g (call $proc_exit (i32.const 255)))";
                module(&[], fields, "(loop $again (call $f) (br $again))")
            },
        ),
        Guest::new(
            "host-by-table",
            "calls a host function through a table and a reference for ever",
            OUT_OF_FUEL,
            || {
                let fields = "(type $t (func (param i32 i32) (result i32))) (table 2 funcref) (elem (i32.const 0) $random_get)";
                let body = "(table.set (i32.const 1) (ref.func $random_get)) (loop $again
                (drop (call_indirect (type $t) (i32.const 64) (i32.const 8) (i32.const 0)))
                (drop (call_indirect (type $t) (i32.const 64) (i32.const 8) (i32.const 1))) (br $again))";
                module(&["random_get"], fields, body)
            },
        )
        .fuel(LITTLE),
    ]
}
