//! Operators that expressions are drawn from. None of them traps.

use super::text::Ty;
use Ty::{F32, F64, I32, I64, V128};

/// What stands between an operator's name and its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    /// A lane below this.
    Lane(u64),
    Shuffle,
    /// An address.
    Load,
}

/// An operator with its type.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [Ty],
    pub(crate) result: Ty,
    pub(crate) shape: Shape,
}

impl Operator {
    /// Whether it works on vectors.
    pub(crate) fn is_vector(&self) -> bool {
        self.result == V128 || self.parameters.contains(&V128)
    }
}

macro_rules! operators {
    ($( $shape:expr, $types:tt => $result:ident: $($name:literal)+; )*) => {
        /// All of them.
        pub(crate) const OPERATORS: &[Operator] = &[
            $($( Operator { name: $name, parameters: &$types, result: $result, shape: $shape }, )+)*
        ];
    };
}

use Shape::{Lane, Load, Plain, Shuffle};

operators! {
    Plain, [I32, I32] => I32: "i32.add" "i32.sub" "i32.mul" "i32.and" "i32.or" "i32.xor" "i32.shl" "i32.shr_s" "i32.shr_u" "i32.rotl" "i32.rotr"
        "i32.eq" "i32.lt_s" "i32.lt_u" "i32.ge_s";
    Plain, [I32] => I32: "i32.clz" "i32.ctz" "i32.popcnt" "i32.eqz" "i32.extend8_s" "i32.extend16_s";
    Plain, [I64, I64] => I64: "i64.add" "i64.sub" "i64.mul" "i64.and" "i64.or" "i64.xor" "i64.shl" "i64.shr_s" "i64.shr_u" "i64.rotl" "i64.rotr";
    Plain, [I64] => I64: "i64.clz" "i64.ctz" "i64.popcnt" "i64.extend8_s" "i64.extend32_s";
    Plain, [I64, I64] => I32: "i64.eq" "i64.lt_s" "i64.gt_u";
    Plain, [I64] => I32: "i32.wrap_i64" "i64.eqz";
    Plain, [I32] => I64: "i64.extend_i32_s" "i64.extend_i32_u";
    Plain, [F32, F32] => F32: "f32.add" "f32.sub" "f32.mul" "f32.div" "f32.min" "f32.max" "f32.copysign";
    Plain, [F32] => F32: "f32.sqrt" "f32.ceil" "f32.floor" "f32.trunc" "f32.nearest" "f32.abs" "f32.neg";
    Plain, [F32, F32] => I32: "f32.eq" "f32.ne" "f32.lt" "f32.ge";
    Plain, [F64, F64] => F64: "f64.add" "f64.sub" "f64.mul" "f64.div" "f64.min" "f64.max" "f64.copysign";
    Plain, [F64] => F64: "f64.sqrt" "f64.ceil" "f64.floor" "f64.trunc" "f64.nearest" "f64.abs" "f64.neg";
    Plain, [F64, F64] => I32: "f64.eq" "f64.ne" "f64.gt" "f64.le";
    Plain, [F64] => F32: "f32.demote_f64";
    Plain, [F32] => F64: "f64.promote_f32";
    Plain, [I32] => F32: "f32.convert_i32_s" "f32.convert_i32_u" "f32.reinterpret_i32";
    Plain, [I64] => F32: "f32.convert_i64_s" "f32.convert_i64_u";
    Plain, [I32] => F64: "f64.convert_i32_s" "f64.convert_i32_u";
    Plain, [I64] => F64: "f64.convert_i64_s" "f64.convert_i64_u" "f64.reinterpret_i64";
    Plain, [F32] => I32: "i32.reinterpret_f32" "i32.trunc_sat_f32_s" "i32.trunc_sat_f32_u";
    Plain, [F64] => I32: "i32.trunc_sat_f64_s" "i32.trunc_sat_f64_u";
    Plain, [F32] => I64: "i64.trunc_sat_f32_s" "i64.trunc_sat_f32_u";
    Plain, [F64] => I64: "i64.reinterpret_f64" "i64.trunc_sat_f64_s" "i64.trunc_sat_f64_u";
    Plain, [I32, I32, I32] => I32: "select";
    Plain, [F32, F32, I32] => F32: "select";
    Plain, [F64, F64, I32] => F64: "select";
    Plain, [V128, V128, I32] => V128: "select";
    Load, [] => I32: "i32.load" "i32.load8_s" "i32.load16_u";
    Load, [] => I64: "i64.load" "i64.load32_s";
    Load, [] => F32: "f32.load";
    Load, [] => F64: "f64.load";
    Load, [] => V128: "v128.load" "v128.load8x8_s" "v128.load16x4_u" "v128.load32x2_s" "v128.load8_splat" "v128.load32_splat"
        "v128.load64_splat" "v128.load32_zero" "v128.load64_zero";
    Plain, [V128, V128] => V128: "f32x4.add" "f32x4.sub" "f32x4.mul" "f32x4.div" "f32x4.min" "f32x4.max" "f32x4.pmin" "f32x4.pmax"
        "f64x2.add" "f64x2.sub" "f64x2.mul" "f64x2.div" "f64x2.min" "f64x2.max" "f64x2.pmin" "f64x2.pmax";
    Plain, [V128, V128] => V128: "f32x4.eq" "f32x4.lt" "f64x2.ne" "f64x2.ge" "i8x16.eq" "i16x8.lt_s" "i32x4.gt_u" "i64x2.ge_s";
    Plain, [V128] => V128: "f32x4.sqrt" "f32x4.ceil" "f32x4.floor" "f32x4.trunc" "f32x4.nearest" "f32x4.abs" "f32x4.neg"
        "f64x2.sqrt" "f64x2.ceil" "f64x2.floor" "f64x2.trunc" "f64x2.nearest" "f64x2.abs" "f64x2.neg"
        "f32x4.demote_f64x2_zero" "f64x2.promote_low_f32x4" "f32x4.convert_i32x4_s" "f32x4.convert_i32x4_u"
        "f64x2.convert_low_i32x4_s" "f64x2.convert_low_i32x4_u" "i32x4.trunc_sat_f32x4_s" "i32x4.trunc_sat_f32x4_u"
        "i32x4.trunc_sat_f64x2_s_zero" "i32x4.trunc_sat_f64x2_u_zero";
    Plain, [V128, V128] => V128: "i8x16.add" "i8x16.sub" "i8x16.add_sat_s" "i8x16.sub_sat_u" "i8x16.min_s" "i8x16.max_u" "i8x16.avgr_u"
        "i8x16.narrow_i16x8_s" "i16x8.narrow_i32x4_u" "i8x16.swizzle" "i16x8.mul" "i16x8.q15mulr_sat_s" "i16x8.avgr_u" "i16x8.add_sat_u"
        "i16x8.extmul_low_i8x16_s" "i32x4.dot_i16x8_s" "i32x4.add" "i32x4.mul" "i32x4.min_u" "i32x4.max_s" "i64x2.add" "i64x2.mul"
        "i64x2.extmul_high_i32x4_u" "v128.and" "v128.or" "v128.xor" "v128.andnot";
    Plain, [V128] => V128: "i8x16.abs" "i8x16.neg" "i8x16.popcnt" "i16x8.abs" "i32x4.neg" "i64x2.abs" "v128.not"
        "i16x8.extadd_pairwise_i8x16_s" "i32x4.extadd_pairwise_i16x8_u" "i16x8.extend_low_i8x16_s" "i32x4.extend_high_i16x8_u"
        "i64x2.extend_low_i32x4_s";
    Plain, [V128, V128, V128] => V128: "v128.bitselect";
    Plain, [V128, I32] => V128: "i8x16.shl" "i8x16.shr_s" "i16x8.shr_u" "i32x4.shl" "i64x2.shr_s" "i64x2.shr_u";
    Plain, [V128] => I32: "v128.any_true" "i8x16.all_true" "i64x2.all_true" "i8x16.bitmask" "i16x8.bitmask" "i32x4.bitmask" "i64x2.bitmask";
    Plain, [I32] => V128: "i8x16.splat" "i16x8.splat" "i32x4.splat";
    Plain, [I64] => V128: "i64x2.splat";
    Plain, [F32] => V128: "f32x4.splat";
    Plain, [F64] => V128: "f64x2.splat";
    Shuffle, [V128, V128] => V128: "i8x16.shuffle";
    Lane(16), [V128] => I32: "i8x16.extract_lane_s" "i8x16.extract_lane_u";
    Lane(8), [V128] => I32: "i16x8.extract_lane_s" "i16x8.extract_lane_u";
    Lane(4), [V128] => I32: "i32x4.extract_lane";
    Lane(2), [V128] => I64: "i64x2.extract_lane";
    Lane(4), [V128] => F32: "f32x4.extract_lane";
    Lane(2), [V128] => F64: "f64x2.extract_lane";
    Lane(16), [V128, I32] => V128: "i8x16.replace_lane";
    Lane(8), [V128, I32] => V128: "i16x8.replace_lane";
    Lane(4), [V128, I32] => V128: "i32x4.replace_lane";
    Lane(2), [V128, I64] => V128: "i64x2.replace_lane";
    Lane(4), [V128, F32] => V128: "f32x4.replace_lane";
    Lane(2), [V128, F64] => V128: "f64x2.replace_lane";
}
