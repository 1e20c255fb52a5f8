//! Classes of operators that cost about the same on every engine, so that a table of weights is
//! short enough to be fitted and read.

/// What an operator does, as far as its time is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Generates no code of its own, or only a jump whose condition was paid before.
    Free,
    /// A constant, `ref.func` or `ref.null`.
    Const,
    /// `local.get`, `local.set`, `local.tee`.
    Local,
    /// `global.get`, `global.set`.
    Global,
    /// Integer addition, subtraction, logic and width changes.
    Int,
    /// Integer shifts and rotations.
    IntShift,
    /// Integer comparisons.
    IntTest,
    /// Counts of leading, trailing and set bits.
    IntCount,
    /// Integer multiplication.
    IntMul,
    /// Integer division and remainder.
    IntDiv,
    /// `select` in both forms.
    Select,
    /// Scalar loads.
    Load,
    /// Scalar stores.
    Store,
    /// Scalar float addition and subtraction.
    Float,
    /// Scalar float sign changes.
    FloatSign,
    /// Scalar float comparisons.
    FloatTest,
    /// Scalar float multiplication.
    FloatMul,
    /// Scalar float division.
    FloatDiv,
    /// Scalar square root.
    FloatSqrt,
    /// Scalar minimum and maximum.
    FloatMinMax,
    /// Scalar rounding to a whole number.
    FloatRound,
    /// Conversions of integers to floats.
    FloatFromInt,
    /// Conversions of floats to integers.
    FloatToInt,
    /// Conversions between float widths.
    FloatWidth,
    /// Reinterpretations of bits.
    Reinterpret,
    /// `br`.
    Jump,
    /// `br_if`, `if`.
    Branch,
    /// `br_table`.
    BrTable,
    /// `call`.
    Call,
    /// `call_indirect`.
    CallIndirect,
    /// Integer vector addition, subtraction, minima, averages and logic.
    Vector,
    /// Integer vector operators of two instructions or so: comparisons, changes of sign, choices by bits.
    VectorTwo,
    /// Integer vector operators that change the width of lanes.
    VectorWiden,
    /// Vector shifts, bit counts and sums of neighbours.
    VectorShift,
    /// Vector shifts of 8-bit lanes, which few processors have.
    VectorShiftBytes,
    /// Shuffles, and moves between lanes and scalars.
    VectorLane,
    /// Sums over all lanes: whether any or all are set, and masks.
    VectorAll,
    /// Vector multiplication of 16-bit lanes and dot products.
    VectorMul,
    /// Vector multiplication of 32-bit lanes, into wider lanes, and with rounding.
    VectorMulWide,
    /// Vector multiplication of 64-bit lanes.
    VectorMulLong,
    /// Float vector addition, subtraction, multiplication, pseudo-minimum and pseudo-maximum.
    VectorFloat,
    /// Float vector sign changes and comparisons.
    VectorFloatTwo,
    /// Conversions of integer lanes to float lanes, and between float widths.
    VectorConvert,
    /// Float vector minimum, maximum, rounding, and conversions to integer lanes.
    VectorRound,
    /// Float vector division and square root.
    VectorDiv,
    /// Vector loads.
    VectorLoad,
    /// Vector stores.
    VectorStore,
    /// Bulk operators, besides what they pay by length.
    Bulk,
    /// `memory.grow` and `table.grow`, besides what they pay by size.
    Grow,
    /// `memory.size`, `table.size`, `table.get`, `table.set`, `ref.is_null`.
    Table,
}

/// Operators that generate no code of their own, or only a jump whose condition was paid before.
const FREE: [&str; 8] = ["Nop", "Drop", "Block", "Loop", "Unreachable", "Return", "Else", "End"];

/// Parts of the names of integer vector operators, with their class; the first that fits counts.
const VECTORS: [(&str, Class); 37] = [
    ("V128Load", Class::VectorLoad),
    ("V128Store", Class::VectorStore),
    ("I64x2Mul", Class::VectorMulLong),
    ("ExtMul", Class::VectorMulWide),
    ("I32x4Mul", Class::VectorMulWide),
    ("Q15Mul", Class::VectorMulWide),
    ("Mul", Class::VectorMul),
    ("Dot", Class::VectorMul),
    ("Trunc", Class::VectorRound),
    ("AllTrue", Class::VectorAll),
    ("AnyTrue", Class::VectorAll),
    ("Bitmask", Class::VectorAll),
    ("Splat", Class::VectorLane),
    ("Lane", Class::VectorLane),
    ("Swizzle", Class::VectorLane),
    ("Shuffle", Class::VectorLane),
    ("I8x16Sh", Class::VectorShiftBytes),
    ("Shl", Class::VectorShift),
    ("Shr", Class::VectorShift),
    ("Popcnt", Class::VectorShift),
    ("ExtAdd", Class::VectorShift),
    ("Extend", Class::VectorWiden),
    ("Narrow", Class::VectorWiden),
    ("Abs", Class::VectorTwo),
    ("Neg", Class::VectorTwo),
    ("Bitselect", Class::VectorTwo),
    ("Eq", Class::VectorTwo),
    ("Ne", Class::VectorTwo),
    ("LtS", Class::VectorTwo),
    ("LtU", Class::VectorTwo),
    ("GtS", Class::VectorTwo),
    ("GtU", Class::VectorTwo),
    ("LeS", Class::VectorTwo),
    ("LeU", Class::VectorTwo),
    ("GeS", Class::VectorTwo),
    ("GeU", Class::VectorTwo),
    ("", Class::Vector),
];

impl Class {
    /// Every class, in the order of the enumeration.
    pub const ALL: [Self; 50] = [
        Self::Free,
        Self::Const,
        Self::Local,
        Self::Global,
        Self::Int,
        Self::IntShift,
        Self::IntTest,
        Self::IntCount,
        Self::IntMul,
        Self::IntDiv,
        Self::Select,
        Self::Load,
        Self::Store,
        Self::Float,
        Self::FloatSign,
        Self::FloatTest,
        Self::FloatMul,
        Self::FloatDiv,
        Self::FloatSqrt,
        Self::FloatMinMax,
        Self::FloatRound,
        Self::FloatFromInt,
        Self::FloatToInt,
        Self::FloatWidth,
        Self::Reinterpret,
        Self::Jump,
        Self::Branch,
        Self::BrTable,
        Self::Call,
        Self::CallIndirect,
        Self::Vector,
        Self::VectorTwo,
        Self::VectorWiden,
        Self::VectorShift,
        Self::VectorShiftBytes,
        Self::VectorLane,
        Self::VectorAll,
        Self::VectorMul,
        Self::VectorMulWide,
        Self::VectorMulLong,
        Self::VectorFloat,
        Self::VectorFloatTwo,
        Self::VectorConvert,
        Self::VectorRound,
        Self::VectorDiv,
        Self::VectorLoad,
        Self::VectorStore,
        Self::Bulk,
        Self::Grow,
        Self::Table,
    ];

    /// The class of an operator, by the name `wasmparser` gives it.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if FREE.contains(&name) {
            return Self::Free;
        }
        match name {
            "V128Const" | "RefFunc" | "RefNull" => Self::Const,
            "LocalGet" | "LocalSet" | "LocalTee" => Self::Local,
            "GlobalGet" | "GlobalSet" => Self::Global,
            "Select" | "TypedSelect" => Self::Select,
            "Br" => Self::Jump,
            "BrIf" | "If" => Self::Branch,
            "BrTable" => Self::BrTable,
            "Call" => Self::Call,
            "CallIndirect" => Self::CallIndirect,
            "MemoryGrow" | "TableGrow" => Self::Grow,
            "MemorySize" | "TableSize" | "TableGet" | "TableSet" | "RefIsNull" => Self::Table,
            _ => Self::of_typed(name),
        }
    }

    /// Of an operator whose name starts with the type it works on.
    fn of_typed(name: &str) -> Self {
        let (ty, rest) = name.split_at(name.len().min(3));
        match ty {
            "I32" | "I64" if !rest.starts_with('x') => Self::of_int(rest),
            "F32" | "F64" if !rest.starts_with('x') => Self::of_float(rest),
            "F32" | "F64" => Self::of_float_vector(rest),
            "I8x" | "I16" | "I32" | "I64" | "V12" => Self::of_vector(name),
            _ => Self::Bulk,
        }
    }

    fn of_int(rest: &str) -> Self {
        match rest {
            "Const" => Self::Const,
            "Mul" => Self::IntMul,
            "DivS" | "DivU" | "RemS" | "RemU" => Self::IntDiv,
            _ if rest.starts_with("Load") => Self::Load,
            _ if rest.starts_with("Store") => Self::Store,
            "Shl" | "ShrS" | "ShrU" | "Rotl" | "Rotr" => Self::IntShift,
            "Clz" | "Ctz" | "Popcnt" => Self::IntCount,
            "Eqz" | "Eq" | "Ne" | "LtS" | "LtU" | "GtS" | "GtU" | "LeS" | "LeU" | "GeS" | "GeU" => {
                Self::IntTest
            }
            _ if rest.starts_with("Trunc") => Self::FloatToInt,
            _ if rest.starts_with("Reinterpret") => Self::Reinterpret,
            _ => Self::Int,
        }
    }

    fn of_float(rest: &str) -> Self {
        match rest {
            "Const" => Self::Const,
            "Load" => Self::Load,
            "Store" => Self::Store,
            "Mul" => Self::FloatMul,
            "Div" => Self::FloatDiv,
            "Sqrt" => Self::FloatSqrt,
            "Min" | "Max" => Self::FloatMinMax,
            "Ceil" | "Floor" | "Trunc" | "Nearest" => Self::FloatRound,
            "Abs" | "Neg" | "Copysign" => Self::FloatSign,
            "Eq" | "Ne" | "Lt" | "Gt" | "Le" | "Ge" => Self::FloatTest,
            "DemoteF64" | "PromoteF32" => Self::FloatWidth,
            _ if rest.starts_with("Convert") => Self::FloatFromInt,
            _ if rest.starts_with("Reinterpret") => Self::Reinterpret,
            _ => Self::Float,
        }
    }

    fn of_float_vector(rest: &str) -> Self {
        match rest.get(2..).unwrap_or_default() {
            "Div" | "Sqrt" => Self::VectorDiv,
            "Splat" | "ExtractLane" | "ReplaceLane" => Self::VectorLane,
            "Add" | "Sub" | "Mul" | "PMin" | "PMax" => Self::VectorFloat,
            "Neg" | "Abs" | "Eq" | "Ne" | "Lt" | "Gt" | "Le" | "Ge" => Self::VectorFloatTwo,
            rest if ["Convert", "Demote", "Promote"]
                .iter()
                .any(|begin| rest.starts_with(begin)) =>
            {
                Self::VectorConvert
            }
            _ => Self::VectorRound,
        }
    }

    fn of_vector(name: &str) -> Self {
        let fits = VECTORS.iter().find(|(part, _)| name.contains(part));
        fits.map_or(Self::Vector, |(_, class)| *class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_fall_into_the_classes_of_their_names() {
        for (name, class) in [
            ("Nop", Class::Free),
            ("I32Add", Class::Int),
            ("I64ExtendI32U", Class::Int),
            ("I64Rotl", Class::IntShift),
            ("I32Eqz", Class::IntTest),
            ("I64GeU", Class::IntTest),
            ("I32Popcnt", Class::IntCount),
            ("I64Mul", Class::IntMul),
            ("I32RemU", Class::IntDiv),
            ("I64Load32S", Class::Load),
            ("F32Store", Class::Store),
            ("I32TruncSatF64S", Class::FloatToInt),
            ("I64ReinterpretF64", Class::Reinterpret),
            ("F64ReinterpretI64", Class::Reinterpret),
            ("F64Sub", Class::Float),
            ("F64Abs", Class::FloatSign),
            ("F32Le", Class::FloatTest),
            ("F32ConvertI32S", Class::FloatFromInt),
            ("F32DemoteF64", Class::FloatWidth),
            ("F64Nearest", Class::FloatRound),
            ("F64x2Sqrt", Class::VectorDiv),
            ("F32x4Mul", Class::VectorFloat),
            ("F32x4PMin", Class::VectorFloat),
            ("F32x4Splat", Class::VectorLane),
            ("F32x4Max", Class::VectorRound),
            ("F64x2Le", Class::VectorFloatTwo),
            ("F64x2PromoteLowF32x4", Class::VectorConvert),
            ("I64x2Mul", Class::VectorMulLong),
            ("I32x4Mul", Class::VectorMulWide),
            ("I16x8Q15MulrSatS", Class::VectorMulWide),
            ("I64x2ExtMulLowI32x4U", Class::VectorMulWide),
            ("I32x4TruncSatF32x4U", Class::VectorRound),
            ("I32x4DotI16x8S", Class::VectorMul),
            ("I8x16Shuffle", Class::VectorLane),
            ("I8x16AllTrue", Class::VectorAll),
            ("V128AnyTrue", Class::VectorAll),
            ("I64x2ShrS", Class::VectorShift),
            ("I16x8ExtAddPairwiseI8x16U", Class::VectorShift),
            ("I16x8ExtendHighI8x16U", Class::VectorWiden),
            ("I8x16NarrowI16x8S", Class::VectorWiden),
            ("I8x16ShrU", Class::VectorShiftBytes),
            ("I64x2GtS", Class::VectorTwo),
            ("V128Bitselect", Class::VectorTwo),
            ("I32x4Add", Class::Vector),
            ("I8x16MinU", Class::Vector),
            ("V128AndNot", Class::Vector),
            ("V128Load32Lane", Class::VectorLoad),
            ("V128Store", Class::VectorStore),
            ("V128Const", Class::Const),
            ("MemoryFill", Class::Bulk),
            ("TableGrow", Class::Grow),
            ("Br", Class::Jump),
            ("If", Class::Branch),
            ("ElemDrop", Class::Bulk),
            ("TableGet", Class::Table),
        ] {
            assert_eq!(Class::of(name), class, "{name}");
        }
    }

    #[test]
    fn all_lists_every_class_once_and_in_order() {
        for (at, class) in Class::ALL.iter().enumerate() {
            assert_eq!(*class as usize, at);
        }
    }
}
