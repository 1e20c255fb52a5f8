//! Guests in text form: expressions drawn at random, and the frame around them.

use std::fmt::Write as _;

use super::operators::{OPERATORS, Operator, Shape};
use crate::draw::Draw;

/// A value type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    I32,
    I64,
    F32,
    F64,
    V128,
}

impl Ty {
    pub(crate) const ALL: [Self; 5] = [Self::I32, Self::I64, Self::F32, Self::F64, Self::V128];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
        }
    }
}

/// Locals of each type that a body may use: `$i320` to `$i323` and so on.
pub(crate) const LOCALS: u64 = 4;
/// Where bodies read and write: below this address.
pub(crate) const ARENA: u64 = 4096;

/// Draws expressions and statements.
pub(crate) struct Writer<'d> {
    pub(crate) draw: &'d mut Draw,
    /// Which operators may occur.
    pub(crate) allowed: fn(&Operator) -> bool,
}

impl Writer<'_> {
    /// An expression of this type, at most `depth` operators deep.
    pub(crate) fn expression(&mut self, ty: Ty, depth: u32) -> String {
        let leaf = depth == 0 || self.draw.chance(1, 8);
        if leaf {
            return if self.draw.chance(1, 3) { self.constant(ty) } else { self.local(ty) };
        }
        let fitting: Vec<&Operator> = OPERATORS
            .iter()
            .filter(|operator| operator.result == ty && (self.allowed)(operator))
            .collect();
        if fitting.is_empty() {
            return self.local(ty);
        }
        let operator = self.draw.pick(&fitting);
        self.applied(operator, depth - 1)
    }

    fn applied(&mut self, operator: &Operator, depth: u32) -> String {
        let mut text = format!("({}", operator.name);
        match operator.shape {
            Shape::Plain => {}
            Shape::Lane(lanes) => text += &format!(" {}", self.draw.below(lanes)),
            Shape::Shuffle => {
                (0..16).for_each(|_| text += &format!(" {}", self.draw.below(32)));
            }
            Shape::Load => {
                let address = self.address(depth);
                return format!("({} {address})", operator.name);
            }
        }
        for ty in operator.parameters {
            let _ = write!(text, " {}", self.expression(*ty, depth));
        }
        text + ")"
    }

    fn address(&mut self, depth: u32) -> String {
        let offset = self.expression(Ty::I32, depth);
        format!("(i32.and {offset} (i32.const {}))", ARENA - 16)
    }

    fn local(&mut self, ty: Ty) -> String {
        format!("(local.get ${}{})", ty.name(), self.draw.below(LOCALS))
    }

    /// A constant: often one at the edge of its type, for floats often a NaN of any kind.
    pub(crate) fn constant(&mut self, ty: Ty) -> String {
        match ty {
            Ty::I32 => format!("(i32.const {})", self.word().cast_signed()),
            Ty::I64 => format!("(i64.const {})", self.double().cast_signed()),
            Ty::F32 => format!("(f32.reinterpret_i32 (i32.const {}))", self.single().cast_signed()),
            Ty::F64 => format!("(f64.reinterpret_i64 (i64.const {}))", self.float().cast_signed()),
            Ty::V128 => self.vector(),
        }
    }

    fn word(&mut self) -> u32 {
        let edges = [0, 1, 2, u32::MAX, 1 << 31, (1 << 31) - 1, 255, 65_535];
        let any = low(self.draw.bits());
        if self.draw.chance(1, 2) { self.draw.pick(&edges) } else { any }
    }

    fn double(&mut self) -> u64 {
        let edges = [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, u64::from(u32::MAX)];
        if self.draw.chance(1, 2) { self.draw.pick(&edges) } else { self.draw.bits() }
    }

    fn single(&mut self) -> u32 {
        let edges = [
            0x7fc0_0000,
            0xffc0_0000,
            0x7f80_0001,
            0xffbf_ffff,
            0x7fff_ffff,
            0x7f80_0000,
            0xff80_0000,
            0,
            0x8000_0000,
            1,
            0x3f80_0000,
            0xbf80_0000,
            0x4f00_0000,
            0x7f7f_ffff,
        ];
        if self.draw.chance(2, 3) { self.draw.pick(&edges) } else { low(self.draw.bits()) }
    }

    fn float(&mut self) -> u64 {
        let edges = [
            0x7ff8 << 48,
            0xfff8 << 48,
            (0x7ff0 << 48) + 1,
            u64::MAX,
            0x7ff0 << 48,
            0xfff0 << 48,
            0,
            1 << 63,
            1,
            0x3ff0 << 48,
            0xbff0 << 48,
            0x43e0 << 48,
            0x7ff4_0000_dead_beef,
        ];
        if self.draw.chance(2, 3) { self.draw.pick(&edges) } else { self.draw.bits() }
    }

    fn vector(&mut self) -> String {
        let lanes: Vec<u32> = match self.draw.below(3) {
            0 => (0..4).map(|_| self.single()).collect(),
            1 => (0..2).flat_map(|_| halves(self.float())).collect(),
            _ => (0..4).map(|_| self.word()).collect(),
        };
        format!("(v128.const i32x4 {} {} {} {})", lanes[0], lanes[1], lanes[2], lanes[3])
    }

    /// Some statements, of assignments and stores.
    pub(crate) fn statements(&mut self, count: u64, types: &[Ty]) -> String {
        (0..count).map(|_| self.statement(types)).collect()
    }

    fn statement(&mut self, types: &[Ty]) -> String {
        let ty = self.draw.pick(types);
        let value = self.expression(ty, 3);
        match self.draw.below(4) {
            0 => format!("({}.store {} {value})\n", ty.name(), self.address(1)),
            1 => {
                let when = self.expression(Ty::I32, 2);
                format!(
                    "(if {when} (then (local.set ${}{} {value})))\n",
                    ty.name(),
                    self.draw.below(LOCALS)
                )
            }
            _ => format!("(local.set ${}{} {value})\n", ty.name(), self.draw.below(LOCALS)),
        }
    }
}

pub(super) const fn low(bits: u64) -> u32 {
    let [a, b, c, d, ..] = bits.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

const fn halves(bits: u64) -> [u32; 2] {
    [low(bits), low(bits >> 32)]
}

/// Declarations of the locals that bodies use.
pub(crate) fn locals() -> String {
    let mut text = String::new();
    for ty in Ty::ALL {
        for number in 0..LOCALS {
            let _ = write!(text, "(local ${0}{number} {0})", ty.name());
        }
    }
    text
}

/// Statements that store every local's bits above the arena.
pub(crate) fn store_locals() -> String {
    let mut text = String::new();
    let mut at = ARENA;
    for ty in Ty::ALL {
        for number in 0..LOCALS {
            let _ =
                writeln!(text, "({0}.store (i32.const {at}) (local.get ${0}{number}))", ty.name());
            at += 16;
        }
    }
    text
}

/// A function `$show` that writes a digest of all memory to standard output, through memory that it restores; and
/// `$mix`, its step.
pub(crate) const SHOW: &str = r#"
(global $hash (mut i64) (i64.const 1469598103934665603))
(func $mix (param $x i64)
  (global.set $hash (i64.add (i64.rotl (i64.mul (i64.xor (global.get $hash) (local.get $x))
    (i64.const 1099511628211)) (i64.const 17)) (i64.const 88172645463325252))))
(func $show (local $at i32) (local $end i32) (local $a i64) (local $b i64) (local $c i32)
  (local.set $end (i32.shl (memory.size) (i32.const 16)))
  (loop $more
    (global.set $hash (i64.add (i64.rotl (i64.mul (i64.xor (global.get $hash) (i64.load (local.get $at)))
      (i64.const 1099511628211)) (i64.const 17)) (i64.const 88172645463325252)))
    (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (local.get $end))))
  (local.set $a (i64.load (i32.const 0))) (local.set $b (i64.load (i32.const 8))) (local.set $c (i32.load (i32.const 16)))
  (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 8))
  (i64.store (i32.const 8) (global.get $hash))
  (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
  (i64.store (i32.const 0) (local.get $a)) (i64.store (i32.const 8) (local.get $b)) (i32.store (i32.const 16) (local.get $c)))
"#;

/// The import that [`SHOW`] needs.
pub(crate) const FD_WRITE: &str = r#"(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"#;

/// A module with `memory` ("1 4": its sizes in pages), declarations, and a body for `_start`; at the end the digest of
/// memory is written.
pub(crate) fn module(memory: &str, declarations: &str, body: &str) -> String {
    format!(
        "(module {FD_WRITE}\n(memory (export \"memory\") {memory})\n{declarations}\n{SHOW}\n\
         (func (export \"_start\") (local $n i32) {}\n{body}\n(call $show)))",
        locals()
    )
}
