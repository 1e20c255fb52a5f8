//! Guests that go for the meter: its globals, table, functions and names, and the bits of NaNs.

use tallymill_protocol::{Outcome, Trap};

use super::text::{attempts, parse};
use super::{Contained, Guest, refused};

pub(crate) fn guests() -> Vec<Guest> {
    let mut guests = own_things();
    let nan = (Contained::FoundNothing, "a NaN is the canonical one before its bits can be seen");
    guests.extend(vec![
        Guest::new(
            "nan-bits-stored",
            "computes NaNs in every way and looks at their bits in memory",
            nan,
            stored,
        ),
        Guest::new("nan-bits-in-lanes", "looks at NaNs through lanes of another shape", nan, lanes),
        Guest::new(
            "nan-bits-on-other-ways",
            "takes NaNs through calls, globals, select, branches and copysign",
            nan,
            ways,
        ),
        Guest::new(
            "nan-boxed",
            "hides a number in the bits of a NaN that it loaded: it must stay",
            (Contained::FoundNothing, "what is loaded is never rewritten"),
            boxed,
        ),
    ]);
    guests
}

fn own_things() -> Vec<Guest> {
    let invalid = refused(1, "invalid module");
    let outside = Contained::Ends(Outcome::Trapped(Trap::TableOutOfBounds));
    vec![
        Guest::new(
            "global-of-the-meter",
            "sets global 0 of a module without globals",
            invalid,
            || parse("(module (func (export \"_start\") (global.set 0 (i64.const 0))))"),
        ),
        Guest::new(
            "global-behind-its-own",
            "sets the globals that follow its own",
            invalid,
            || {
                parse(
                    "(module (global (mut i64) (i64.const 0)) (func (export \"_start\") (global.set 3 (i64.const -1))))",
                )
            },
        ),
        Guest::new(
            "table-of-the-meter",
            "sets entry 0 of a table that it does not have",
            invalid,
            || {
                parse(
                    "(module (func (export \"_start\") (table.set 0 (i32.const 0) (ref.null func))))",
                )
            },
        ),
        Guest::new(
            "second-table-of-the-meter",
            "calls through the table that follows its own",
            invalid,
            || {
                parse(
                    "(module (table 1 funcref) (type $t (func)) (func (export \"_start\") (call_indirect 1 (type $t) (i32.const 0))))",
                )
            },
        ),
        Guest::new(
            "function-of-the-meter",
            "calls the function that follows its own",
            invalid,
            || parse("(module (func (export \"_start\") (call 1)))"),
        ),
        Guest::new("memory-of-nobody", "uses a memory that it does not have", invalid, || {
            parse("(module (func (export \"_start\") (i32.store (i32.const 0) (i32.const 1))))")
        }),
        Guest::new(
            "name-of-the-limit",
            "exports a global under the name of the meter's limit",
            refused(1, "reserved prefix"),
            || {
                parse(
                    "(module (global (export \"tallymill:limit\") (mut i64) (i64.const -1)) (func (export \"_start\")))",
                )
            },
        ),
        Guest::new(
            "name-of-finish",
            "exports a function under the name of the meter's last check",
            refused(1, "reserved prefix"),
            || parse("(module (func (export \"_start\")) (func (export \"tallymill:finish\")))"),
        ),
        Guest::new(
            "names-that-are-alike",
            "exports names that only look like the meter's",
            (Contained::FoundNothing, "only the exact prefix is the meter's"),
            || {
                parse("(module (global (export \"tallymill\") (mut i64) (i64.const -1)) (global (export \" tallymill:limit\") (mut i64) (i64.const -1))
                (global (export \"Tallymill:limit\") (mut i64) (i64.const -1)) (func (export \"_start\")))")
            },
        ),
        Guest::new(
            "entries-behind-its-own",
            "calls through entries behind its table",
            (outside, "the meter's table is another"),
            || {
                parse("(module (table 1 1 funcref) (type $t (func (param i64))) (func (export \"_start\")
                (call_indirect (type $t) (i64.const 0) (i32.const 1))))")
            },
        ),
        Guest::new(
            "already-metered",
            "is a metered module of its own making",
            refused(1, "reserved prefix"),
            || {
                parse("(module (global (export \"tallymill:mark\") (mut i64) (i64.const 0)) (global (export \"tallymill:count\") (mut i64) (i64.const -9223372036854775808))
                (func (export \"tallymill:start\")) (func (export \"_start\")))")
            },
        ),
        Guest::new(
            "branch-hints-forged",
            "says in a custom section which branches are taken",
            (Contained::FoundNothing, "custom sections are dropped"),
            || {
                parse("(module (@custom \"metadata.code.branch_hint\" \"\\01\\00\\01\\05\\01\\01\") (@custom \"name\" \"\\ff\\ff\\ff\")
                (func (export \"_start\") (if (i32.const 1) (then))))")
            },
        ),
    ]
}

/// Numbers that no compiler can know: zero, infinity, minus one.
const NUMBERS: &str = "(data (i32.const 16) \"\\00\\00\\00\\00\\00\\00\\f0\\7f\\00\\00\\00\\00\\00\\00\\f0\\bf\")
    (data (i32.const 40) \"\\00\\00\\80\\7f\\00\\00\\80\\bf\")
    (func $zero (result f64) (f64.load (i32.const 8))) (func $inf (result f64) (f64.load (i32.const 16)))
    (func $minus (result f64) (f64.load (i32.const 24)))
    (func $zero32 (result f32) (f32.load (i32.const 8))) (func $inf32 (result f32) (f32.load (i32.const 40)))
    (func $minus32 (result f32) (f32.load (i32.const 44)))
    (func $is64 (param i64 i64) (call $denied (i64.eq (local.get 0) (local.get 1))))
    (func $is32 (param i32 i32) (call $denied (i32.eq (local.get 0) (local.get 1))))";
const NAN: &str = "(i64.const 0x7ff8000000000000)";
const NAN32: &str = "(i32.const 0x7fc00000)";

/// Ways to compute a NaN.
const WAYS: [&str; 8] = [
    "(f64.div (call $zero) (call $zero))",
    "(f64.sub (call $inf) (call $inf))",
    "(f64.mul (call $zero) (call $inf))",
    "(f64.sqrt (call $minus))",
    "(f64.min (f64.sqrt (call $minus)) (call $zero))",
    "(f64.floor (f64.sqrt (call $minus)))",
    "(f64.add (f64.neg (f64.sqrt (call $minus))) (call $zero))",
    "(f64.promote_f32 (f32.sqrt (call $minus32)))",
];

/// The same in 32 bits, but for the last.
fn narrow(way: &str) -> String {
    let calls = ["$zero", "$inf", "$minus"];
    let calls = calls.iter().fold(way.to_owned(), |text, name| {
        text.replace(&format!("{name})"), &format!("{name}32)"))
    });
    calls.replace("f64.", "f32.")
}

fn stored() -> Vec<u8> {
    let wide = WAYS.iter().map(|way| {
        format!(
            "(f64.store (i32.const 64) {way}) (call $is64 (i64.load (i32.const 64)) {NAN})
            (call $is64 (i64.reinterpret_f64 {way}) {NAN})"
        )
    });
    let narrow = WAYS[..7].iter().map(|way| narrow(way));
    let narrow =
        narrow.chain(["(f32.demote_f64 (f64.sqrt (call $minus)))".to_owned()]).map(|way| {
            format!(
                "(f32.store (i32.const 64) {way}) (call $is32 (i32.load (i32.const 64)) {NAN32})"
            )
        });
    attempts(&[], NUMBERS, &wide.chain(narrow).collect::<String>())
}

fn lanes() -> Vec<u8> {
    let wide = "(f64x2.sqrt (f64x2.splat (call $minus)))";
    let narrow = "(f32x4.div (f32x4.splat (call $zero32)) (f32x4.splat (call $zero32)))";
    let both = "(i64.const 0x7fc000007fc00000)";
    let body = format!(
        "(call $is64 (i64x2.extract_lane 0 {wide}) {NAN}) (call $is64 (i64x2.extract_lane 1 {wide}) {NAN})
        (call $is32 (i32x4.extract_lane 3 {narrow}) {NAN32}) (call $is64 (i64x2.extract_lane 1 {narrow}) {both})
        (call $is64 (i64.reinterpret_f64 (f64x2.extract_lane 0 {narrow})) {both})
        (call $is32 (i32.reinterpret_f32 (f32x4.extract_lane 0 (f32x4.mul {narrow} {wide}))) {NAN32})
        (call $is64 (i64x2.extract_lane 0 (v128.xor {wide} (v128.const i64x2 0 0))) {NAN})
        (call $is64 (i64x2.extract_lane 0 (i8x16.shuffle 0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7 {wide} {narrow})) {NAN})
        (call $is32 (i8x16.bitmask {narrow}) (i32.const 0x4444))
        (v128.store (i32.const 64) {narrow}) (call $is64 (i64.load (i32.const 72)) {both})
        (v128.store32_lane 2 (i32.const 64) {narrow}) (call $is32 (i32.load (i32.const 64)) {NAN32})"
    );
    attempts(&[], NUMBERS, &body)
}

fn ways() -> Vec<u8> {
    let nan = WAYS[0];
    let fields = format!(
        "{NUMBERS} (global $g (mut f64) (f64.const 0)) (func $same (param f64) (result f64) (local.get 0))
        (func $pair (result f64 f64) {nan} {nan})"
    );
    let body = format!(
        "(local $x f64) (global.set $g {nan}) (call $is64 (i64.reinterpret_f64 (global.get $g)) {NAN})
        (call $is64 (i64.reinterpret_f64 (call $same {nan})) {NAN})
        (call $is64 (i64.reinterpret_f64 (f64.add (call $pair))) {NAN})
        (call $is64 (i64.reinterpret_f64 (select {nan} (f64.sqrt (call $minus)) (i32.load (i32.const 0)))) {NAN})
        (call $is64 (i64.reinterpret_f64 (block $b (result f64) {nan} (br_if $b (i32.load (i32.const 16))))) {NAN})
        (if (i32.load (i32.const 20)) (then (local.set $x {nan})) (else (local.set $x (call $inf))))
        (call $is64 (i64.reinterpret_f64 (local.get $x)) {NAN})
        (call $is64 (i64.reinterpret_f64 (f64.copysign (f64.const 1) {nan})) (i64.const 0x3ff0000000000000))
        (call $is64 (i64.reinterpret_f64 (f64.abs {nan})) {NAN})"
    );
    attempts(&[], &fields, &body)
}

fn boxed() -> Vec<u8> {
    let fields = format!("{NUMBERS} (data (i32.const 80) \"\\ef\\be\\ad\\de\\07\\00\\fc\\ff\")");
    let bits = "(i64.const 0xfffc0007deadbeef)";
    let body = format!(
        "(call $is64 (i64.reinterpret_f64 (f64.load (i32.const 80))) {bits})
        (f64.store (i32.const 96) (f64.load (i32.const 80))) (call $is64 (i64.load (i32.const 96)) {bits})
        (v128.store (i32.const 112) (f64x2.splat (f64.load (i32.const 80)))) (call $is64 (i64.load (i32.const 120)) {bits})"
    );
    attempts(&[], &fields, &body)
}
