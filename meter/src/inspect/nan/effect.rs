//! What each operator does with the bits of floats.

use crate::cost::CostTable;
use std::collections::HashMap;
use std::sync::LazyLock;
use wasmparser::Operator;

/// A set of lane shapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shapes(u8);

impl Shapes {
    pub const NONE: Self = Self(0);
    pub const F32: Self = Self(1);
    pub const F64: Self = Self(2);
    pub const F32X4: Self = Self(4);
    pub const F64X2: Self = Self(8);
    pub const VECTORS: Self = Self(12);
    pub const ALL: Self = Self(15);

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether it holds exactly one shape.
    pub(super) const fn is_single(self) -> bool {
        self.0.is_power_of_two()
    }

    /// The vector shapes whose lanes have the widths of these.
    const fn splat(self) -> Self {
        Self((self.0 | self.0 << 2) & Self::VECTORS.0)
    }

    /// The scalars that are the lanes of these.
    const fn lanes(self) -> Self {
        Self((self.0 | self.0 >> 2) & !Self::VECTORS.0)
    }
}

/// What an operator does with the floats it takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Looks at the bits of every operand; what it gives is exact.
    Observes,
    /// Throws its operand away.
    Drops,
    /// Computes on floats of a shape, whatever the bits of a NaN, and gives another kind of value.
    Reads(Shapes),
    /// Gives a float that is never a NaN of its own shape, but may look like one of these.
    Whole(Shapes),
    /// Computes on floats of the first shape and gives new ones of the second.
    Produces(Shapes, Shapes),
    /// Passes on the bits of its operands, which may be dirty of these shapes, in another value.
    Carries(Shapes, Change),
    /// Passes on the bits of the first operand but for the sign, which is the second's.
    Copysign,
    /// Passes on the first or the second of its operands by the third.
    Select,
}

/// How the value that carries bits differs from where they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Same,
    ToVector,
    ToScalar,
}

impl Change {
    pub(super) const fn apply(self, shapes: Shapes) -> Shapes {
        match self {
            Self::Same => shapes,
            Self::ToVector => shapes.splat(),
            Self::ToScalar => shapes.lanes(),
        }
    }
}

const COMPUTES: [&str; 11] =
    ["Add", "Sub", "Mul", "Div", "Min", "Max", "Sqrt", "Ceil", "Floor", "Trunc", "Nearest"];
const COMPARES: [&str; 6] = ["Eq", "Ne", "Lt", "Gt", "Le", "Ge"];
const CARRIES: [&str; 4] = ["Abs", "Neg", "PMin", "PMax"];

static EFFECTS: LazyLock<HashMap<&'static str, Effect>> =
    LazyLock::new(|| CostTable::operators().map(|name| (name, Effect::of_name(name))).collect());

impl Effect {
    pub(super) fn of(op: &Operator<'_>) -> Self {
        match op {
            Operator::I8x16Shuffle { lanes } => Self::of_shuffle(*lanes),
            Operator::F32Const { value } if !f32::from_bits(value.bits()).is_nan() => {
                Self::Whole(Shapes::NONE)
            }
            Operator::F64Const { value } if !f64::from_bits(value.bits()).is_nan() => {
                Self::Whole(Shapes::NONE)
            }
            Operator::V128Const { value } => Self::Whole(looks_like_nan(*value.bytes())),
            _ => EFFECTS.get(CostTable::name(op)).copied().unwrap_or(Self::Observes),
        }
    }

    fn of_name(name: &str) -> Self {
        match name {
            "Drop" => return Self::Drops,
            "Select" | "TypedSelect" => return Self::Select,
            "F32Copysign" | "F64Copysign" => return Self::Copysign,
            "F32DemoteF64" => return Self::Produces(Shapes::F64, Shapes::F32),
            "F64PromoteF32" => return Self::Produces(Shapes::F32, Shapes::F64),
            "F32x4DemoteF64x2Zero" => return Self::Produces(Shapes::F64X2, Shapes::F32X4),
            "F64x2PromoteLowF32x4" => return Self::Produces(Shapes::F32X4, Shapes::F64X2),
            _ => {}
        }
        let shapes = [
            ("F32x4", Shapes::F32X4),
            ("F64x2", Shapes::F64X2),
            ("F32", Shapes::F32),
            ("F64", Shapes::F64),
        ];
        for (prefix, shape) in shapes {
            if let Some(rest) = name.strip_prefix(prefix) {
                return Self::of_float(shape, rest);
            }
            // Conversions to integers name the float behind.
            let truncates = |begin: &str| name.contains(&format!("{begin}{prefix}"));
            if truncates("Trunc") || truncates("TruncSat") {
                return Self::Reads(shape);
            }
        }
        Self::Observes
    }

    fn of_float(shape: Shapes, rest: &str) -> Self {
        let vector = !shape.and(Shapes::VECTORS).is_none();
        match rest {
            _ if COMPUTES.contains(&rest) => Self::Produces(shape, shape),
            _ if COMPARES.contains(&rest) => Self::Reads(shape),
            _ if CARRIES.contains(&rest) => Self::Carries(shape, Change::Same),
            "Splat" | "ReplaceLane" => Self::Carries(shape.with(shape.lanes()), Change::ToVector),
            "ExtractLane" => Self::Carries(shape, Change::ToScalar),
            _ if rest.starts_with("Convert") && vector => {
                Self::Whole(Shapes::VECTORS.without(shape))
            }
            _ if rest.starts_with("Convert") => Self::Whole(Shapes::NONE),
            _ => Self::Observes,
        }
    }

    /// A shuffle that moves whole lanes carries them; any other looks at bytes.
    fn of_shuffle(lanes: [u8; 16]) -> Self {
        let whole = |size: usize| {
            lanes.chunks_exact(size).all(|chunk| {
                usize::from(chunk[0]) % size == 0
                    && chunk.windows(2).all(|pair| pair[1] == pair[0] + 1)
            })
        };
        if whole(8) {
            Self::Carries(Shapes::VECTORS, Change::Same)
        } else if whole(4) {
            Self::Carries(Shapes::F32X4, Change::Same)
        } else {
            Self::Observes
        }
    }
}

/// The shapes in which some lane of a constant is a NaN.
fn looks_like_nan(bytes: [u8; 16]) -> Shapes {
    let mut shapes = Shapes::NONE;
    for lane in bytes.as_chunks::<4>().0 {
        if f32::from_le_bytes(*lane).is_nan() {
            shapes = shapes.with(Shapes::F32X4);
        }
    }
    for lane in bytes.as_chunks::<8>().0 {
        if f64::from_le_bytes(*lane).is_nan() {
            shapes = shapes.with(Shapes::F64X2);
        }
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_effects_of_the_contract() {
        for (name, effect) in [
            ("F64Add", Effect::Produces(Shapes::F64, Shapes::F64)),
            ("F32x4Nearest", Effect::Produces(Shapes::F32X4, Shapes::F32X4)),
            ("F64x2PMin", Effect::Carries(Shapes::F64X2, Change::Same)),
            ("F32Neg", Effect::Carries(Shapes::F32, Change::Same)),
            (
                "F32x4ReplaceLane",
                Effect::Carries(Shapes::F32X4.with(Shapes::F32), Change::ToVector),
            ),
            ("F64x2ExtractLane", Effect::Carries(Shapes::F64X2, Change::ToScalar)),
            ("F32x4Lt", Effect::Reads(Shapes::F32X4)),
            ("I32TruncF64U", Effect::Reads(Shapes::F64)),
            ("I64TruncSatF32S", Effect::Reads(Shapes::F32)),
            ("I32x4TruncSatF64x2UZero", Effect::Reads(Shapes::F64X2)),
            ("F64ConvertI64U", Effect::Whole(Shapes::NONE)),
            ("F32x4ConvertI32x4S", Effect::Whole(Shapes::F64X2)),
            ("F64x2ConvertLowI32x4U", Effect::Whole(Shapes::F32X4)),
            ("F64Load", Effect::Observes),
            ("F32ReinterpretI32", Effect::Observes),
            ("I32ReinterpretF32", Effect::Observes),
            ("V128Bitselect", Effect::Observes),
            ("Call", Effect::Observes),
            ("F64x2DemoteNothing", Effect::Observes),
        ] {
            assert_eq!(Effect::of_name(name), effect, "{name}");
        }
    }

    #[test]
    fn whole_lanes_are_carried_and_parts_are_looked_at() {
        let of = |lanes: [u8; 16]| Effect::of_shuffle(lanes);
        let carries = |shapes| Effect::Carries(shapes, Change::Same);
        let pairs = [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];
        assert_eq!(of(pairs), carries(Shapes::VECTORS));
        let words = [4, 5, 6, 7, 0, 1, 2, 3, 28, 29, 30, 31, 0, 1, 2, 3];
        assert_eq!(of(words), carries(Shapes::F32X4));
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(of(bytes), Effect::Observes);
    }

    #[test]
    fn a_constant_can_look_like_a_nan_in_one_shape_only() {
        let mut bytes = [0; 16];
        assert_eq!(looks_like_nan(bytes), Shapes::NONE);
        bytes[..4].copy_from_slice(&[0, 0, 0xc0, 0x7f]);
        assert_eq!(looks_like_nan(bytes), Shapes::F32X4);
        bytes[..8].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0xf0, 0xff]);
        assert_eq!(looks_like_nan(bytes), Shapes::F32X4.with(Shapes::F64X2));
    }
}
