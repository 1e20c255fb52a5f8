//! NaNs: what may be seen of one is the same whatever bits arithmetic left in it, and what was never
//! computed is never touched.
//!
//! Every guest here is run as it is metered and scrambled: with random bits in each NaN it computes.

use crate::host::{Grant, Guest, metered, profile};
use tallymill_meter::meter_scrambled;
use wasmtime::Val;

const SEEDS: u64 = 6;

/// Everything that can be seen of a run of `f`: its results, the memory, the fuel.
fn seen(mut guest: Guest, args: &[Val]) -> (String, Vec<u8>, u64) {
    let results = format!("{:?}", guest.call("f", args));
    let memory = guest.memory()[..4096].to_vec();
    (results, memory, guest.flushed())
}

/// Runs `f` in all ways, asserts that they agree, and answers the memory.
fn run(wat: &str, args: &[Val]) -> Vec<u8> {
    let expected = seen(Guest::new(wat, Grant::default()), args);
    let original = wat::parse_str(wat).unwrap();
    for seed in 0..SEEDS {
        let scrambled = meter_scrambled(&original, &profile(), seed * 77 + 5).unwrap();
        let guest = Guest::instantiate(&scrambled, Grant::default());
        assert_eq!(seen(guest, args), expected, "{wat}");
    }
    expected.1
}

/// A guest whose `f` has this body; 0 ÷ 0 is the usual way to a NaN.
fn body(text: &str) -> Vec<u8> {
    let wat = format!(
        r#"(module (memory (export "m") 1) (global $g (mut f64) (f64.const 0))
            (data (i32.const 256) "\01\00\00\00\00\00\f4\ff\02\00\a0\7f\03\00\f0\ff")
            (func $nan (result f64) (f64.div (f64.const 0) (f64.const 0)))
            (func $keep (param f64) (f64.store (i32.const 64) (local.get 0)))
            (func (export "f") (param $n i32)
                (local $x f64) (local $y f64) (local $s f32) (local $v v128) (local $w v128)
                {text}))"#
    );
    run(&wat, &[Val::I32(3)])
}

const NAN: &str = "(f64.div (f64.const 0) (f64.const 0))";
const NAN32: &str = "(f32.div (f32.const 0) (f32.const 0))";
const LANES: &str = "(f32x4.div (v128.const f32x4 0 1 0 2) (v128.const f32x4 0 1 0 0))";
const WIDE: &str = "(f64x2.div (v128.const f64x2 0 1) (v128.const f64x2 0 1))";
/// Signalling, negative, with a payload: as no arithmetic would leave it.
const ODD: u64 = 0xfff4_0000_0000_0001;
const CANONICAL: u64 = 0x7ff8_0000_0000_0000;
const CANONICAL_32: u32 = 0x7fc0_0000;

fn u64_at(memory: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(memory[at..at + 8].try_into().unwrap())
}

fn u32_at(memory: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(memory[at..at + 4].try_into().unwrap())
}

fn store(value: &str) -> u64 {
    u64_at(&body(&format!("(f64.store (i32.const 0) {value})")), 0)
}

#[test]
fn a_computed_nan_is_stored_as_the_canonical_one() {
    for op in ["add", "sub", "mul", "div", "min", "max"] {
        assert_eq!(store(&format!("(f64.{op} {NAN} (f64.const 1))")), CANONICAL, "{op}");
    }
    for op in ["sqrt", "ceil", "floor", "trunc", "nearest"] {
        assert_eq!(store(&format!("(f64.{op} {NAN})")), CANONICAL, "{op}");
    }
    assert_eq!(store(&format!("(f64.promote_f32 {NAN32})")), CANONICAL);
    let memory = body(&format!("(f32.store (i32.const 0) (f32.demote_f64 {NAN}))"));
    assert_eq!(u32_at(&memory, 0), CANONICAL_32);
    for op in ["add", "sub", "mul", "div", "min", "max"] {
        let text = format!("(f32.store (i32.const 0) (f32.{op} {NAN32} (f32.const 1)))");
        assert_eq!(u32_at(&body(&text), 0), CANONICAL_32, "{op}");
    }
}

#[test]
fn signs_of_dirty_values_end_in_the_positive_nan() {
    assert_eq!(store(&format!("(f64.neg {NAN})")), CANONICAL);
    assert_eq!(store(&format!("(f64.copysign {NAN} (f64.const -1))")), CANONICAL);
    // The sign of a dirty value is looked at: it is positive by then.
    let magnitude = store(&format!("(f64.copysign (f64.const -3) {NAN})"));
    assert_eq!(f64::from_bits(magnitude), 3.0);
}

#[test]
fn bits_that_were_never_computed_stay() {
    let load = "(f64.load (i32.const 256))";
    assert_eq!(store(load), ODD);
    assert_eq!(store(&format!("(f64.neg {load})")), ODD ^ 1 << 63);
    assert_eq!(store(&format!("(f64.abs {load})")), ODD & !(1 << 63));
    assert_eq!(store(&format!("(select {load} {load} (local.get $n))")), ODD);
    assert_eq!(store("(f64.const -nan:0x4000000000001)"), ODD);
    assert_eq!(store("(f64.reinterpret_i64 (i64.const 0xfff4000000000001))"), ODD);
    let text = format!("(global.set $g {load}) (call $keep (global.get $g))");
    assert_eq!(u64_at(&body(&text), 64), ODD);
    let text = "(v128.store (i32.const 0) (v128.load (i32.const 256)))";
    assert_eq!(u64_at(&body(text), 0), ODD);
    let text = "(local.set $x (f64.load (i32.const 256)))
        (if (local.get $n) (then (local.set $y (local.get $x))))
        (f64.store (i32.const 0) (local.get $y))";
    assert_eq!(u64_at(&body(text), 0), ODD);
}

#[test]
fn a_nan_boxing_guest_keeps_its_boxes() {
    // Integers in the payload of a NaN, numbers computed beside them, both through one local.
    let text = format!(
        "(local.set $x (f64.reinterpret_i64 (i64.or (i64.const 0x7ffc000000000000)
            (i64.extend_i32_u (local.get $n)))))
        (loop $again
            (if (i32.and (local.get $n) (i32.const 1))
                (then (local.set $x (f64.reinterpret_i64 (i64.add (i64.const 8)
                    (i64.reinterpret_f64 (local.get $x))))))
                (else (local.set $y {NAN})))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (f64.store (i32.const 0) (local.get $x)) (f64.store (i32.const 8) (local.get $y))"
    );
    let memory = body(&text);
    assert_eq!(u64_at(&memory, 0), 0x7ffc_0000_0000_0003 + 16);
    assert_eq!(u64_at(&memory, 8), CANONICAL);
}

#[test]
fn every_way_out_of_a_function_shows_the_canonical_nan() {
    for text in [
        format!("(call $keep {NAN})"),
        "(call $keep (call $nan))".to_owned(),
        format!("(global.set $g {NAN}) (call $keep (global.get $g))"),
        format!("(i64.store (i32.const 64) (i64.reinterpret_f64 {NAN}))"),
        format!("(v128.store (i32.const 64) (f64x2.splat {NAN}))"),
        format!("(v128.store (i32.const 64) {WIDE})"),
    ] {
        assert_eq!(u64_at(&body(&text), 64), CANONICAL, "{text}");
    }
    let results = format!(
        r#"(module (memory (export "m") 1)
            (func $two (param i32) (result f64 f64)
                (if (i32.eq (local.get 0) (i32.const 1)) (then (return {NAN} (f64.const 1))))
                (br_if 0 {NAN} {NAN} (i32.eq (local.get 0) (i32.const 2)))
                drop drop
                (block (result f64 f64)
                    (br_table 0 1 0 {NAN} (f64.load (i32.const 256)) (local.get 0))))
            (func (export "f") (param i32) (local f64)
                (call $two (local.get 0))
                (local.set 1) (f64.store (i32.const 0)) (f64.store (i32.const 8) (local.get 1))))"#
    )
    .replace(
        "(local.set 1) (f64.store (i32.const 0))",
        "local.set 1 local.set 2 (f64.store (i32.const 0) (local.get 2))",
    )
    .replace("(param i32) (local f64)\n", "(param i32) (local f64 f64)\n");
    for argument in 0..4 {
        let memory = run(&results, &[Val::I32(argument)]);
        assert_eq!(u64_at(&memory, 0), CANONICAL, "{argument}");
    }
}

#[test]
fn exact_and_dirty_meet_without_a_bit_changed_or_leaked() {
    let join = |n: i32| {
        format!(
            "(f64.store (i32.const 0) (if (result f64) (i32.const {n})
                (then (f64.load (i32.const 256))) (else {NAN})))
            (block $out
                (local.set $x (f64.load (i32.const 256)))
                (br_if $out (i32.const {n}))
                (local.set $x {NAN}))
            (f64.store (i32.const 8) (local.get $x))
            (f64.store (i32.const 16)
                (select (f64.load (i32.const 256)) {NAN} (i32.const {n})))
            (f64.store (i32.const 24) (f64.neg
                (select (f64.load (i32.const 256)) {NAN} (i32.const {n}))))"
        )
    };
    for (n, bits) in [(0, CANONICAL), (1, ODD)] {
        let memory = body(&join(n));
        for at in [0, 8, 16] {
            assert_eq!(u64_at(&memory, at), bits, "{n} {at}");
        }
        assert_eq!(u64_at(&memory, 24), bits ^ 1 << 63, "{n}");
    }
}

#[test]
fn locals_may_stay_dirty_around_a_loop() {
    // Zero rounds keep the loaded bits, others leave a canonical NaN.
    let text = |rounds: i32| {
        format!(
            "(local.set $n (i32.const {rounds}))
            (local.set $x (f64.load (i32.const 256)))
            (block $out
                (br_if $out (i32.eqz (local.get $n)))
                (loop $again
                    (local.set $x (f64.add (local.get $x) (f64.const 1)))
                    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
            (f64.store (i32.const 0) (local.get $x))
            (local.set $y (f64.load (i32.const 256)))
            (block $done (loop $top
                (br_if $done (i32.ge_s (local.get $n) (i32.const {rounds})))
                (local.set $y (f64.mul (local.get $y) (f64.const 2)))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br $top)))
            (f64.store (i32.const 8) (local.get $y))"
        )
    };
    for (rounds, bits) in [(0, ODD), (1, CANONICAL), (5, CANONICAL)] {
        let memory = body(&text(rounds));
        assert_eq!((u64_at(&memory, 0), u64_at(&memory, 8)), (bits, bits), "{rounds}");
    }
}

#[test]
fn a_loop_that_looks_at_what_the_last_round_computed_sees_it_canonical() {
    let text = format!(
        "(local.set $x (f64.load (i32.const 256)))
        (loop $again
            (f64.store (i32.shl (local.get $n) (i32.const 3)) (local.get $x))
            (local.set $y (local.get $x))
            (local.set $x (f64.add (local.get $y) {NAN}))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (f64.store (i32.const 0) (local.get $y))"
    );
    let memory = body(&text);
    assert_eq!(
        [3, 2, 1, 0].map(|at| u64_at(&memory, at * 8)),
        [ODD, CANONICAL, CANONICAL, CANONICAL]
    );
}

#[test]
fn branches_with_values_carry_them_exactly() {
    for n in 0..4 {
        let text = format!(
            "(f64.store (i32.const 0) (block $a (result f64)
                (f64.add (f64.const 1) (block $b (result f64)
                    (br_table $a $b $a {NAN} (i32.const {n}))))))
            (f64.store (i32.const 8) (block $c (result f64)
                (f64.neg (br_if $c {NAN} (i32.const {n})))))
            (f64.store (i32.const 16) (loop $l (result f64)
                (f64.mul {NAN} (f64.const 2))
                (br_if $l (i32.const 0))))"
        );
        let memory = body(&text);
        for at in [0, 8, 16] {
            assert_eq!(u64_at(&memory, at), CANONICAL, "{n} {at}");
        }
    }
}

#[test]
fn blocks_and_loops_with_several_values_keep_them_apart() {
    let text = format!(
        "{NAN} (f64.load (i32.const 256))
        (block (param f64 f64) (result f64 f64)
            (br_if 0 (local.get $n))
            (drop) (drop) (f64.load (i32.const 256)) {NAN})
        (local.set $x) (local.set $y)
        (f64.store (i32.const 0) (local.get $y)) (f64.store (i32.const 8) (local.get $x))
        {NAN} (f64.load (i32.const 256))
        (loop (param f64 f64) (result f64 f64)
            (local.set $x) (local.set $y)
            (f64.store (i32.const 16) (local.get $y))
            (local.get $x) (local.get $y)
            (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.set $x) (local.set $y)
        (f64.store (i32.const 24) (local.get $y)) (f64.store (i32.const 32) (local.get $x))"
    );
    let wat = text.replace("(local.set $x) (local.set $y)", "local.set $x local.set $y");
    let memory = body(&wat);
    assert_eq!((u64_at(&memory, 0), u64_at(&memory, 8)), (CANONICAL, ODD));
}

#[test]
fn vectors_are_canonical_lane_by_lane() {
    let memory = body(&format!("(v128.store (i32.const 0) {LANES})"));
    assert_eq!([0, 4, 8].map(|at| u32_at(&memory, at)), [CANONICAL_32, 0x3f80_0000, CANONICAL_32]);
    let memory = body(&format!("(v128.store (i32.const 0) {WIDE})"));
    assert_eq!((u64_at(&memory, 0), u64_at(&memory, 8)), (CANONICAL, 0x3ff0_0000_0000_0000));
}

#[test]
fn other_lanes_and_bits_see_canonical_vectors() {
    // Each looks at dirty lanes in a way that is not arithmetic of their own shape.
    for text in [
        format!("(v128.store (i32.const 0) (f64x2.add {LANES} (v128.const f64x2 0 0)))"),
        format!("(v128.store (i32.const 0) (i32x4.add {LANES} (v128.const i32x4 1 1 1 1)))"),
        format!(
            "(v128.store (i32.const 0) (v128.bitselect {LANES} {WIDE} (v128.load (i32.const 256))))"
        ),
        format!("(v128.store (i32.const 0) (v128.and {LANES} {WIDE}))"),
        format!("(i32.store (i32.const 0) (i32x4.bitmask {LANES}))"),
        format!(
            "(v128.store (i32.const 0) (i8x16.swizzle {LANES} (v128.const i8x16 3 2 1 0 7 6 5 4 3 2 1 0 1 2 3 4)))"
        ),
        format!(
            "(v128.store (i32.const 0) (i8x16.shuffle 1 2 3 4 5 6 7 8 16 17 18 19 20 21 22 23 {LANES} {WIDE}))"
        ),
        format!(
            "(v128.store (i32.const 0) (i8x16.shuffle 8 9 10 11 0 1 2 3 24 25 26 27 16 17 18 19 {LANES} {LANES}))"
        ),
        format!(
            "(v128.store (i32.const 0) (i8x16.shuffle 8 9 10 11 0 1 2 3 24 25 26 27 16 17 18 19 {LANES} {WIDE}))"
        ),
        format!(
            "(v128.store (i32.const 0) (f32x4.replace_lane 1 (v128.load (i32.const 256)) {NAN32}))"
        ),
        format!(
            "(v128.store (i32.const 0) (f32x4.replace_lane 1 {LANES} (f32.load (i32.const 264))))"
        ),
        format!("(f32.store (i32.const 0) (f32x4.extract_lane 0 {LANES}))"),
        format!("(f64.store (i32.const 0) (f64x2.extract_lane 0 {LANES}))"),
        format!("(v128.store32_lane 2 (i32.const 0) {LANES})"),
        format!("(v128.store (i32.const 0) (f32x4.pmin {LANES} (v128.load (i32.const 256))))"),
        format!("(v128.store (i32.const 0) (f32x4.demote_f64x2_zero {WIDE}))"),
        format!("(v128.store (i32.const 0) (f64x2.promote_low_f32x4 {LANES}))"),
        format!("(v128.store (i32.const 0) (i32x4.trunc_sat_f32x4_s {LANES}))"),
        format!("(v128.store (i32.const 0) (f32x4.lt {LANES} {LANES}))"),
        format!(
            "(local.set $v {LANES}) (if (local.get $n) (then (local.set $v {WIDE})))
            (v128.store (i32.const 0) (local.get $v))"
        ),
        format!(
            "(local.set $v {LANES}) (if (i32.eqz (local.get $n)) (then (local.set $v {WIDE})))
            (v128.store (i32.const 0) (f64x2.mul (local.get $v) (local.get $v)))"
        ),
        format!(
            "(local.set $v {LANES}) (local.set $w (local.get $v))
            (v128.store (i32.const 0) (f32x4.add (local.get $v) (f32x4.neg (local.get $w))))
            (v128.store (i32.const 16) (v128.not (local.get $w)))"
        ),
    ] {
        body(&text);
    }
}

#[test]
fn a_replaced_lane_leaves_the_exact_ones_as_they_were() {
    let text = format!(
        "(v128.store (i32.const 0) (f32x4.replace_lane 0 (v128.load (i32.const 256)) {NAN32}))
        (v128.store (i32.const 16) (f32x4.replace_lane 2 {LANES} (f32.load (i32.const 264))))"
    );
    let memory = body(&text);
    assert_eq!(u32_at(&memory, 0), CANONICAL_32);
    assert_eq!(u64_at(&memory, 8), 0xfff0_0003_7fa0_0002);
    assert_eq!((u32_at(&memory, 16), u32_at(&memory, 24)), (CANONICAL_32, 0x7fa0_0002));
}

#[test]
fn code_that_cannot_be_reached_is_left_alone() {
    body(&format!(
        "(block (br 0) f64.add f64.neg drop
            (if (i32.const 1) (then (br 0) f64.sqrt local.set $x)
                (else (local.set $x (f64.const 1))))
            (loop (br 0) f32x4.add drop))
        (f64.store (i32.const 0) {NAN}) (return) local.set $x local.set $y"
    ));
}

#[test]
fn a_function_whose_joins_are_too_much_work_is_followed_the_simple_way() {
    let store = "(f64.store (i32.const 0) (local.get $x))";
    let dirty = format!("(local.set $x {NAN})");
    let branches = "(br_if 0 (i32.const 0))".repeat(40);
    let many = format!("{} {dirty} (block {branches}) {store}", "(local f64)".repeat(800));
    let few = format!("{dirty} (block {branches}) {store}");
    assert_eq!((u64_at(&body(&many), 0), u64_at(&body(&few), 0)), (CANONICAL, CANONICAL));
    // The simple way makes the value canonical when it is set, the other when it is looked at.
    let set = [&[0x44][..], &CANONICAL.to_le_bytes(), &[0x21]].concat();
    let module = |text: &str| {
        let wat = format!("(module (memory 1) (func (local $x f64) {text}))");
        metered(&wat).bytes.windows(10).filter(|window| *window == set).count()
    };
    assert_eq!((module(&many), module(&few)), (1, 1));
    let unseen = |text: &str| text.replace(store, "");
    assert_eq!((module(&unseen(&many)), module(&unseen(&few))), (1, 0));
}

#[test]
fn metered_arithmetic_alone_holds_no_canonical_nan() {
    // A kernel that only computes pays nothing for NaNs: the constant appears for the store only.
    let text = r#"(module (memory (export "m") 1) (func (export "f") (param i32) (local f64 f64)
        (loop (local.set 1 (f64.add (local.get 1) (f64.mul (local.get 2) (f64.const 3))))
            (local.set 2 (f64.sqrt (f64.sub (local.get 2) (local.get 1))))
            (br_if 0 (f64.lt (local.get 1) (f64.const 100))))
        (f64.store (i32.const 0) (local.get 1))))"#;
    let bytes = metered(text).bytes;
    let constant = [&[0x44][..], &CANONICAL.to_le_bytes()].concat();
    assert_eq!(bytes.windows(9).filter(|window| *window == constant).count(), 1);
}

/// What five stores leave that wait for each other, each of the value that `value` has for it.
fn stores(value: impl Fn(usize) -> &'static str) -> Vec<u8> {
    let store = |at: usize| {
        format!(
            "(f64.store (i32.add (local.get $n) (i32.const {})) (f64.mul (local.get $x) {}))",
            8 * at,
            value(at)
        )
    };
    body(&format!(
        "(local.set $n (i32.const 0)) (local.set $x (f64.load (i32.const 2048)))
         (local.set $x (f64.add (local.get $x) (f64.const 1))) {}",
        (0..5).map(store).collect::<String>()
    ))
}

#[test]
fn stores_that_wait_for_each_other_store_what_each_would() {
    let infinities = ["(f64.const inf)", "(f64.const -inf)", "(f64.const 2)"];
    for nans in 0..32_u32 {
        let memory = stores(|at| match nans >> at & 1 {
            1 => NAN,
            _ => infinities[at % 3],
        });
        for at in 0..5 {
            let expected = match nans >> at & 1 {
                1 => CANONICAL,
                _ => [f64::INFINITY, f64::NEG_INFINITY, 2.0][at % 3].to_bits(),
            };
            assert_eq!(u64_at(&memory, 8 * at), expected, "{nans:05b}");
        }
    }
}

#[test]
fn stores_that_wait_keep_their_order_and_their_trap() {
    let value = |number: u32| format!("(f64.add (local.get $x) (f64.const {number}))");
    let memory = body(&format!(
        "(f64.store (i32.const 0) {}) (f64.store (i32.const 4) (f64.mul {NAN} (local.get $x)))",
        value(1)
    ));
    assert_eq!(u64_at(&memory, 4), CANONICAL, "the later store is on top");
    let memory = body(&format!(
        "(f64.store (i32.const 16) (f64.mul {NAN} (local.get $x)))
         (f64.store (i32.const 65530) {})
         (f64.store (i32.const 24) {})",
        value(1),
        value(2)
    ));
    assert_eq!((u64_at(&memory, 16), u64_at(&memory, 24)), (CANONICAL, 0), "the second one traps");
    // An address and a value that change between two stores.
    let memory = body(&format!(
        "(local.set $n (i32.const 128)) (local.set $y (f64.const 5))
         (f64.store (local.get $n) (f64.add (local.get $y) (f64.const 1)))
         (local.set $n (i32.const 136)) (local.set $y {NAN})
         (f64.store (local.get $n) (f64.add (local.get $y) (f64.const 1)))"
    ));
    assert_eq!((u64_at(&memory, 128), u64_at(&memory, 136)), (6.0_f64.to_bits(), CANONICAL));
    // A load between two stores sees the first.
    let memory = body(&format!(
        "(f64.store (i32.const 0) {}) (f64.store (i32.const 8) (f64.mul (f64.load (i32.const 0)) (f64.const 2)))",
        value(3)
    ));
    assert_eq!(u64_at(&memory, 8), 6.0_f64.to_bits());
    let text = format!(
        "(f32.store (i32.const 0) (f32.mul {NAN32} (f32.const 1))) (f32.store (i32.const 4) (f32.add (f32.const 1) (f32.const 2)))"
    );
    let memory = body(&text);
    assert_eq!((u32_at(&memory, 0), u32_at(&memory, 4)), (CANONICAL_32, 3.0_f32.to_bits()));
}
