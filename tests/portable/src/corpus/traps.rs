//! Traps of every kind, inside loops without calls, where the count lives in a local; and traps before anything runs.

use super::text::{self, Ty, Writer};
use crate::draw::Draw;

/// Operators that trap. `{x}` is an operand that is 0 in the round that traps, `{n}` the number of the round.
const TRAPS: [&str; 44] = [
    "(unreachable)",
    "(drop (i32.div_s (i32.const 7) (i32.const 0)))",
    "(drop (i32.div_u (local.get $n) (i32.const 0)))",
    "(drop (i32.rem_s (i32.const 7) (i32.const 0)))",
    "(drop (i32.rem_u (i32.const 7) (i32.const 0)))",
    "(drop (i64.div_s (i64.const 7) (i64.const 0)))",
    "(drop (i64.div_u (i64.const 7) (i64.const 0)))",
    "(drop (i64.rem_s (i64.const 7) (i64.const 0)))",
    "(drop (i64.rem_u (i64.const 7) (i64.const 0)))",
    "(drop (i32.div_s (i32.const -2147483648) (i32.const -1)))",
    "(drop (i64.div_s (i64.const -9223372036854775808) (i64.const -1)))",
    "(drop (i32.trunc_f32_s (f32.const nan)))",
    "(drop (i32.trunc_f32_u (f32.const -1)))",
    "(drop (i32.trunc_f64_s (f64.const 2147483648)))",
    "(drop (i32.trunc_f64_u (f64.const inf)))",
    "(drop (i64.trunc_f32_s (f32.const 9223372036854775808)))",
    "(drop (i64.trunc_f32_u (f32.const nan:0x200001)))",
    "(drop (i64.trunc_f64_s (f64.const -inf)))",
    "(drop (i64.trunc_f64_u (f64.const 18446744073709551616)))",
    "(drop (i32.load (i32.const 65533)))",
    "(drop (i32.load8_u (i32.const -1)))",
    "(drop (i64.load offset=65529 (i32.const 0)))",
    "(drop (f32.load offset=4294967295 (i32.const 0)))",
    "(drop (f64.load (i32.const 65536)))",
    "(drop (v128.load (i32.const 65521)))",
    "(drop (v128.load8_lane 3 (i32.const 65536) (local.get $v1280)))",
    "(v128.store64_lane 1 (i32.const 65529) (local.get $v1280))",
    "(i32.store (i32.const 65533) (i32.const 1))",
    "(i32.store16 (i32.const 65535) (i32.const 1))",
    "(i64.store offset=8 (i32.const -8) (i64.const 1))",
    "(f64.store (i32.const 65529) (f64.const 1))",
    "(v128.store (i32.const 65524) (local.get $v1280))",
    "(memory.fill (i32.const 65530) (i32.const 1) (i32.const 7))",
    "(memory.copy (i32.const 65530) (i32.const 0) (local.get $n))",
    "(memory.copy (i32.const 0) (i32.const 65537) (i32.const 0))",
    "(memory.init $d (i32.const 0) (i32.const 3) (i32.const 2))",
    "(memory.init $d (i32.const 65535) (i32.const 0) (i32.const 2))",
    "(drop (table.get $t (i32.const 4)))",
    "(table.set $t (i32.const -1) (ref.null func))",
    "(table.fill $t (i32.const 3) (ref.null func) (i32.const 2))",
    "(table.copy $t $t (i32.const 0) (i32.const 4) (i32.const 1))",
    "(table.init $t $e (i32.const 0) (i32.const 1) (i32.const 1))",
    "(table.init $t $e (i32.const 4) (i32.const 0) (i32.const 1))",
    "(br_table 0 0 (i32.const 5)) (unreachable)",
];

/// Calls that trap: not in loops without calls, but traps all the same.
const CALLS: [&str; 4] = [
    "(call_indirect $t (i32.const 1))",
    "(call_indirect $t (i32.const 4))",
    "(call_indirect $t (param i32) (i32.const 1) (i32.const 0))",
    "(drop (call_indirect $t (result f64) (i32.const 0)))",
];

/// Operators that trap without a branch once the loop has come far enough.
const CREEPING: [&str; 8] = [
    "(i32.store8 (i32.add (i32.const {e}) (local.get $n)) (local.get $n))",
    "(v128.store (i32.sub (i32.add (i32.const {e}) (local.get $n)) (i32.const 15)) (local.get $v1280))",
    "(local.set $i640 (i64.add (local.get $i640) (i64.load8_s (i32.add (i32.const {e}) (local.get $n)))))",
    "(local.set $i320 (i32.div_u (i32.const 1000) (i32.sub (i32.const {k}) (local.get $n))))",
    "(local.set $i640 (i64.rem_s (i64.const 1000) (i64.sub (i64.const {k}) (i64.extend_i32_u (local.get $n)))))",
    "(local.set $i320 (i32.trunc_f64_s (f64.add (f64.convert_i32_u (local.get $n)) (f64.const {c}))))",
    "(local.set $i320 (i32.trunc_f32_u (f32.div (f32.convert_i32_u (local.get $n)) (f32.convert_i32_s (i32.sub (i32.const {k}) (local.get $n))))))",
    "(table.set $t (i32.shr_u (i32.mul (local.get $n) (i32.const 4)) (i32.const {s})) (ref.null func))",
];

/// One trap somewhere in a loop.
pub(super) fn in_loops(draw: &mut Draw) -> String {
    let round = draw.magnitude(3000);
    let rounds = round + draw.below(2) * 100 + 1;
    let trap = match draw.below(9) {
        8 => conditional("(unreachable)", round),
        0 => conditional(draw.pick(&CALLS), round),
        1..=2 => creeping(draw, round),
        _ => conditional(draw.pick(&TRAPS), round),
    };
    let mut writer = Writer { draw, allowed: |operator| !operator.is_vector() };
    let count = writer.draw.below(4);
    let before = writer.statements(count, &[Ty::I32, Ty::I64, Ty::F64]);
    let after = writer.statements(1, &[Ty::I32, Ty::I64]);
    let shown = if draw.chance(1, 2) { "(call $show)" } else { "" };
    let body = format!(
        "{shown} (loop $again\n{before}{trap}\n{after}
        (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {rounds}))))\n{}",
        text::store_locals()
    );
    let declarations = "(table $t 4 4 funcref) (elem $e func $f) (elem (i32.const 0) $f) (data $d \"abcd\") (func $f)";
    text::module("1 1", declarations, &body)
}

fn conditional(trap: &str, round: u64) -> String {
    format!("(if (i32.eq (local.get $n) (i32.const {round})) (then {trap}))")
}

fn creeping(draw: &mut Draw, round: u64) -> String {
    let text = draw.pick(&CREEPING);
    let steps = u64::from(round.ilog2());
    [("{e}", 65_536 - round), ("{k}", round), ("{c}", 2_147_483_648 - round), ("{s}", steps)]
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, &value.to_string()))
}

/// Segments that fit or do not, and start functions of all kinds.
pub(super) fn at_instantiation(draw: &mut Draw) -> String {
    let data = draw.pick(&[
        "(data (i32.const 65534) \"abc\")",
        "(data (i32.const 65533) \"abc\")",
        "(data (i32.const -1) \"\")",
        "",
    ]);
    let elements = draw.pick(&[
        "(elem (i32.const 3) $f $f)",
        "(elem (i32.const 2) $f $f)",
        "(elem (i32.const 5) func)",
        "",
    ]);
    let start = draw.pick(&[
        "",
        "(func $s (i32.store (i32.const 8) (i32.const 5))) (start $s)",
        "(func $s (unreachable)) (start $s)",
        "(func $s (drop (i32.load (i32.const -1)))) (start $s)",
        "(func $s (loop $l (br $l))) (start $s)",
        "(func $s (call $s)) (start $s)",
        "(start $f)",
    ]);
    let (pages, entries) = (draw.between(1, 30), draw.between(4, 400));
    let declarations = format!(
        "(table {entries} funcref) {data} {elements} {start} (func $f (call $mix (i64.const 1)))"
    );
    let memory = if data.is_empty() { format!("{pages}") } else { "1".to_owned() };
    text::module(&memory, &declarations, "(call $f)")
}
