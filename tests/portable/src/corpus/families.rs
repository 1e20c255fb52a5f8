//! Generators of modules that end by themselves, if limits let them.

use std::fmt::Write as _;

use super::operators::Operator;
use super::text::{self, Ty, Writer};
use crate::draw::Draw;

/// A loop around statements, then every local for all to see.
fn looped(draw: &mut Draw, types: &[Ty], vectors: bool) -> String {
    let rounds = draw.between(1, 40);
    let (statements, allowed): (_, fn(&Operator) -> bool) = if vectors {
        (draw.between(3, 20), |_| true)
    } else {
        (draw.between(3, 30), |operator| !operator.is_vector())
    };
    let mut writer = Writer { draw, allowed };
    let before: String = Ty::ALL
        .iter()
        .map(|ty| format!("(local.set ${}0 {})\n", ty.name(), writer.constant(*ty)))
        .collect();
    let inside = writer.statements(statements, types);
    let globals = "(global $gf (mut f64) (f64.const 0)) (global $gs (mut f32) (f32.const 0))";
    let helper = "(func $pass (param f32 f64 v128) (result f64 f32) (local.get 1) (local.get 0))";
    let through = "(call $pass (local.get $f320) (local.get $f641) (local.get $v1280)) (global.set $gs) (global.set $gf)
        (call $mix (i64.reinterpret_f64 (global.get $gf)))
        (call $mix (i64.extend_i32_u (i32.reinterpret_f32 (global.get $gs))))\n";
    let through = if writer.draw.chance(1, 2) { through } else { "" };
    let body = format!(
        "{before}(loop $again\n{inside}{through}
        (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {rounds}))))\n{}",
        text::store_locals()
    );
    text::module("1", &format!("{globals}{helper}"), &body)
}

/// Arithmetic on floats that makes NaNs of every kind and looks at their bits.
pub(super) fn floats(draw: &mut Draw) -> String {
    looped(draw, &[Ty::F32, Ty::F64, Ty::F32, Ty::F64, Ty::I32, Ty::I64], false)
}

/// Vectors seen as lanes of every shape.
pub(super) fn lanes(draw: &mut Draw) -> String {
    looped(draw, &[Ty::V128, Ty::V128, Ty::V128, Ty::F32, Ty::F64, Ty::I32, Ty::I64], true)
}

/// Loops long enough to pass several slices.
pub(super) fn slices(draw: &mut Draw) -> String {
    let rounds = draw.between(200_000, 1_000_000);
    let fill = if draw.chance(1, 2) {
        "(memory.fill (i32.const 4096) (local.get $n) (i32.const 60000))"
    } else {
        ""
    };
    let every = draw.between(20_000, 300_000);
    let body = format!(
        "(loop $again
          (local.set $i640 (i64.add (i64.rotl (local.get $i640) (i64.const 5)) (i64.extend_i32_u (local.get $n))))
          (if (i32.eqz (i32.rem_u (local.get $n) (i32.const {every}))) (then {fill} (call $show)))
          (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {rounds}))))
        (i64.store (i32.const 64) (local.get $i640))"
    );
    text::module("1", "", &body)
}

/// Memory and tables that grow, within limits and beyond them.
pub(super) fn growth(draw: &mut Draw) -> String {
    let declared = |draw: &mut Draw, first, most| {
        if draw.chance(1, 2) {
            format!("{first} {}", draw.between(first, most))
        } else {
            format!("{first}")
        }
    };
    let first = draw.between(1, 3);
    let memory = declared(draw, first, 40);
    let first = draw.between(0, 20);
    let table = declared(draw, first, 400);
    let mut body = String::new();
    for _ in 0..draw.between(2, 30) {
        let answer = match draw.below(4) {
            0 | 1 => format!("(memory.grow (i32.const {}))", delta(draw, 8)),
            2 => format!("(table.grow $t (ref.null func) (i32.const {}))", delta(draw, 120)),
            _ => "(i32.add (memory.size) (table.size $t))".to_owned(),
        };
        let _ = writeln!(body, "(call $mix (i64.extend_i32_u {answer}))");
        if draw.chance(1, 3) {
            let _ = writeln!(
                body,
                "(i32.store8 (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1)) (i32.const 7))"
            );
        }
    }
    let again = draw.between(1, 4);
    let body = format!(
        "(loop $again {body} (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {again}))))"
    );
    text::module(&memory, &format!("(table $t {table} funcref)"), &body)
}

fn delta(draw: &mut Draw, usual: u64) -> i64 {
    match draw.below(8) {
        0 => draw.pick(&[-1, i64::from(i32::MIN), 65_536, 65_535, 1 << 30]),
        _ => i64::try_from(draw.below(usual)).unwrap_or(0),
    }
}

/// Copies, fills and initialisations of memory, overlapping and at every edge.
pub(super) fn copies(draw: &mut Draw) -> String {
    let data: String = draw.bytes(64).iter().map(|byte| format!("\\{byte:02x}")).collect();
    let pages = draw.between(1, 4);
    let mut body = String::from("(memory.init $d (i32.const 100) (i32.const 0) (i32.const 64))\n");
    for _ in 0..draw.between(3, 20) {
        let line = match draw.below(8) {
            0 => format!(
                "(memory.fill {} (i32.const {}) {})",
                at(draw, pages),
                draw.below(256),
                length(draw)
            ),
            1 => format!(
                "(memory.init $d {} (i32.const {}) (i32.const {}))",
                at(draw, pages),
                draw.below(70),
                draw.below(20)
            ),
            2 if draw.chance(1, 6) => "(data.drop $d)".to_owned(),
            3 | 4 => {
                let (from, by) = (draw.below(pages * 50_000), draw.magnitude(70_000));
                let (to, from) =
                    if draw.chance(1, 2) { (from + by, from) } else { (from, from + by) };
                format!("(memory.copy (i32.const {to}) (i32.const {from}) {})", length(draw))
            }
            _ => format!("(memory.copy {} {} {})", at(draw, pages), at(draw, pages), length(draw)),
        };
        body += &line;
        if draw.chance(1, 3) {
            body += "(call $show)";
        }
        body.push('\n');
    }
    text::module(&format!("{pages} {pages}"), &format!("(data $d \"{data}\")"), &body)
}

fn at(draw: &mut Draw, pages: u64) -> String {
    let top = pages * 65_536;
    match draw.below(12) {
        0 => format!("(i32.const {})", top - draw.below(3)),
        1 => "(i32.const -1)".to_owned(),
        2 => "(i32.const 0)".to_owned(),
        _ => format!("(i32.const {})", draw.below(top)),
    }
}

fn length(draw: &mut Draw) -> String {
    match draw.below(12) {
        0 => "(i32.const 0)".to_owned(),
        1 => format!("(i32.const {})", draw.pick(&[65_536, 65_537, 65_535, 131_072, 1024, 1025])),
        2 => "(i32.const -1)".to_owned(),
        3 => format!("(local.tee $i320 (i32.const {}))", draw.magnitude(66_000)),
        _ => format!("(i32.const {})", draw.magnitude(5000)),
    }
}

/// The same for tables, with elements that are dropped.
pub(super) fn tables(draw: &mut Draw) -> String {
    let size = draw.between(4, 200);
    let functions: String =
        (0..6).map(|n| format!("(func $f{n} (result i32) (i32.const {}))\n", n * 3 + 1)).collect();
    let declarations = format!(
        "(table $t {size} funcref) (type $r (func (result i32)))
        {functions} (elem $e func $f0 $f1 $f2 $f3 $f4 $f5)"
    );
    let mut body = String::from("(table.init $t $e (i32.const 1) (i32.const 0) (i32.const 3))\n");
    for _ in 0..draw.between(3, 20) {
        let index = |draw: &mut Draw| {
            if draw.chance(1, 30) { size + draw.below(2) } else { draw.below(size) }
        };
        let count =
            |draw: &mut Draw| if draw.chance(1, 20) { size } else { draw.below(size / 2 + 1) };
        let (a, b, n) = (index(draw), index(draw), count(draw).min(6));
        let wide = count(draw).min(size - a.min(size)) + draw.below(20) / 19;
        let _ = match draw.below(9) {
            0 => {
                writeln!(body, "(table.copy $t $t (i32.const {a}) (i32.const {b}) (i32.const {n}))")
            }
            1 => writeln!(
                body,
                "(table.copy $t $t (i32.const {a}) (i32.const 1) (i32.const {wide}))"
            ),
            2 => {
                writeln!(body, "(table.fill $t (i32.const {a}) (ref.func $f4) (i32.const {wide}))")
            }
            3 => writeln!(
                body,
                "(table.init $t $e (i32.const {a}) (i32.const {}) (i32.const {}))",
                draw.below(6),
                draw.below(3)
            ),
            4 if draw.chance(1, 6) => writeln!(body, "(elem.drop $e)"),
            5 => writeln!(body, "(table.set $t (i32.const {a}) (table.get $t (i32.const {b})))"),
            6 => writeln!(
                body,
                "(call $mix (i64.extend_i32_u (ref.is_null (table.get $t (i32.const {a})))))"
            ),
            7 => writeln!(
                body,
                "(if (i32.eqz (ref.is_null (table.get $t (i32.const {a})))) (then (call $mix (i64.extend_i32_u (call_indirect $t (type $r) (i32.const {a}))))))"
            ),
            _ => writeln!(body, "(table.set $t (i32.const {a}) (ref.func $f{}))", draw.below(6)),
        };
        if draw.chance(1, 4) {
            body += "(call $show)\n";
        }
    }
    text::module("1", &declarations, &body)
}

/// Functions that call themselves and each other until they are deep enough, or the stack ends.
pub(super) fn recursion(draw: &mut Draw) -> String {
    let mut functions = String::from(
        "(type $down (func (param i32) (result i32)))\n(table 2 2 funcref) (elem (i32.const 0) $f0 $f1)\n",
    );
    for own in 0..2u64 {
        let (kind, other) = (draw.pick(&Ty::ALL), draw.below(2));
        let count = draw.magnitude(120);
        let extra =
            format!("(local {})", vec![kind.name(); usize::try_from(count).unwrap_or(1)].join(" "));
        let held = draw.magnitude(60) - 1;
        let pushes = "(local.get $d)".repeat(usize::try_from(held).unwrap_or(0));
        let pops = "(i32.add)".repeat(usize::try_from(held).unwrap_or(0));
        let deeper = "(i32.sub (local.get $d) (i32.const 1))";
        let call = if draw.chance(1, 3) {
            format!("(call_indirect (type $down) {deeper} (i32.const {other}))")
        } else {
            format!("(call $f{other} {deeper})")
        };
        let _ = writeln!(
            functions,
            "(func $f{own} (param $d i32) (result i32) {extra}
              (if (i32.eqz (local.get $d)) (then (return (i32.const {own}))))
              (i32.store (i32.const 32) (local.get $d))
              {pushes} {call} {pops})"
        );
    }
    let depth = draw.magnitude(20_000);
    let body = format!(
        "(call $mix (i64.extend_i32_u (call $f0 (i32.const {}))))
        (call $show) (i32.store (i32.const 36) (call $f1 (i32.const {depth})))",
        draw.magnitude(300)
    );
    text::module("1", &functions, &body)
}

/// Calls through tables: the right type, another type, null, out of range.
pub(super) fn indirect(draw: &mut Draw) -> String {
    let declarations = "
        (type $a (func (param i32) (result i32))) (type $b (func (param i64) (result i64)))
        (type $c (func)) (type $twin (func (param i32) (result i32)))
        (table $t 8 8 funcref) (elem (i32.const 0) $fa $fb $fc $fd)
        (func $fa (type $a) (i32.add (local.get 0) (i32.const 3)))
        (func $fb (type $b) (i64.mul (local.get 0) (i64.const 5)))
        (func $fc (type $c) (call $mix (i64.const 9)))
        (func $fd (type $twin) (i32.xor (local.get 0) (i32.const 77)))";
    let wrong = draw.below(3) == 0;
    let mut calls = String::new();
    for _ in 0..draw.between(2, 12) {
        let index = if wrong { draw.below(10) } else { draw.pick(&[0, 3]) };
        let _ = match if wrong { draw.below(3) } else { 0 } {
            0 => writeln!(
                calls,
                "(call $mix (i64.extend_i32_u (call_indirect $t (type $a) (local.get $n) (i32.const {index}))))"
            ),
            1 => writeln!(
                calls,
                "(call $mix (call_indirect $t (type $b) (local.get $i640) (i32.const {})))",
                draw.pick(&[1, index])
            ),
            _ => writeln!(
                calls,
                "(call_indirect $t (type $c) (i32.const {}))",
                draw.pick(&[2, index])
            ),
        };
    }
    let rounds = draw.between(1, 50);
    let body = format!(
        "(loop $again {calls} (call $show)
        (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {rounds}))))"
    );
    text::module("1", declarations, &body)
}
