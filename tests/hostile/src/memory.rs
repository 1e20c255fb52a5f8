//! Guests that want all memory, and those that move much of it at once.

use tallymill_protocol::{Outcome, Trap};

use super::text::parse;
use super::{Contained, Guest, OUT_OF_FUEL, TOO_LARGE, refused};

pub(crate) fn guests() -> Vec<Guest> {
    let mut guests = declared();
    guests.extend(grown());
    guests.extend(moved());
    guests
}

fn declared() -> Vec<Guest> {
    vec![
        Guest::new("memory-of-4-gib", "declares 65,536 pages", TOO_LARGE, || {
            parse("(module (memory 65536) (func (export \"_start\")))")
        }),
        Guest::new(
            "table-of-a-million",
            "declares a table of 1,000,000 entries",
            TOO_LARGE,
            || parse("(module (table 1000000 funcref) (func (export \"_start\")))"),
        ),
        Guest::new(
            "table-of-100-million",
            "declares a table of 100,000,000 entries",
            refused(12, "entries of a table"),
            || parse("(module (table 100000000 funcref) (func (export \"_start\")))"),
        ),
        Guest::new(
            "memory-of-64-bits",
            "declares a memory with 64-bit addresses",
            refused(1, "invalid module"),
            || parse("(module (memory i64 1) (func (export \"_start\")))"),
        ),
        Guest::new("memories-two", "declares two memories", refused(12, "memories"), || {
            parse("(module (memory 1) (memory 1) (func (export \"_start\")))")
        }),
        Guest::new("tables-two", "declares two tables", refused(12, "tables"), || {
            parse("(module (table 1 funcref) (table 1 funcref) (func (export \"_start\")))")
        }),
    ]
}

fn grown() -> Vec<Guest> {
    vec![
        Guest::new(
            "memory-bomb",
            "grows as far as it can and touches every page",
            OUT_OF_FUEL,
            || {
                parse("(module (memory 1) (func (export \"_start\") (local $at i32)
                (loop $grow (br_if $grow (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
                (loop $again (local.set $at (i32.const 0))
                    (loop $touch (i32.store (local.get $at) (i32.const -1))
                        (br_if $touch (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096)))
                            (i32.shl (memory.size) (i32.const 16)))))
                    (br $again))))")
            },
        ),
        Guest::new("memory-grow-loop", "asks for one more page for ever", OUT_OF_FUEL, || {
            parse(
                "(module (memory 1) (func (export \"_start\")
                (loop $again (drop (memory.grow (i32.const 1))) (br $again))))",
            )
        }),
        Guest::new(
            "memory-grow-huge",
            "asks for 2^32 - 1 more pages for ever",
            OUT_OF_FUEL,
            || {
                parse("(module (memory 1) (func (export \"_start\")
                (loop $again (if (i32.ne (memory.grow (i32.const -1)) (i32.const -1)) (then unreachable)) (br $again))))")
            },
        ),
        Guest::new("table-grow-loop", "asks for more table entries for ever", OUT_OF_FUEL, || {
            parse(
                "(module (table 0 funcref) (func (export \"_start\")
                (loop $again (drop (table.grow (ref.null func) (i32.const 1000))) (br $again))))",
            )
        }),
        Guest::new(
            "table-grow-huge",
            "asks for 2^32 - 1 more table entries for ever",
            OUT_OF_FUEL,
            || {
                parse("(module (table 1 funcref) (func (export \"_start\")
                (loop $again (if (i32.ne (table.grow (ref.null func) (i32.const -1)) (i32.const -1)) (then unreachable)) (br $again))))")
            },
        ),
    ]
}

fn moved() -> Vec<Guest> {
    let out_of_bounds = (
        Contained::Ends(Outcome::Trapped(Trap::MemoryOutOfBounds)),
        "ranges checked before the first byte",
    );
    vec![
        Guest::new(
            "fill-of-1-gib",
            "one memory.fill of 1 GiB, which it has no fuel for",
            OUT_OF_FUEL,
            || bulk(16_384, "(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x40000000))"),
        )
        .memory(1024),
        Guest::new("fill-for-ever", "memory.fill of 48 MiB, again and again", OUT_OF_FUEL, || {
            bulk(1_000, "(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x3000000))")
        }),
        Guest::new(
            "copy-that-overlaps",
            "memory.copy of 48 MiB onto itself, up and down",
            OUT_OF_FUEL,
            || {
                bulk(
                    1_000,
                    "(memory.copy (i32.const 1) (i32.const 0) (i32.const 0x3000000))
                (memory.copy (i32.const 0) (i32.const 1) (i32.const 0x3000000))",
                )
            },
        ),
        Guest::new("copy-out-of-bounds", "memory.copy of 2^32 - 1 bytes", out_of_bounds, || {
            bulk(1, "(memory.copy (i32.const 1) (i32.const 0) (i32.const -1))")
        }),
        Guest::new(
            "table-fill-for-ever",
            "table.fill and table.copy of 10,000 entries, again and again",
            OUT_OF_FUEL,
            || {
                parse(
                    "(module (table 10000 funcref) (func (export \"_start\") (loop $again
                (table.fill (i32.const 0) (ref.null func) (i32.const 10000))
                (table.copy (i32.const 1) (i32.const 0) (i32.const 9999)) (br $again))))",
                )
            },
        ),
    ]
}

/// Does `work` for ever in a memory of so many pages.
fn bulk(pages: u32, work: &str) -> Vec<u8> {
    parse(&format!(
        "(module (memory {pages}) (func (export \"_start\") (loop $again {work} (br $again))))"
    ))
}
