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
    /// Integer addition, logic, shifts, comparisons, width changes, bit counts.
    Int,
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
    /// Scalar float addition, subtraction, sign changes and comparisons.
    Float,
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
    /// Conversions between integers and floats, or between float widths; reinterpretations.
    Convert,
    /// `br`, `br_if`, `if`.
    Branch,
    /// `br_table`.
    BrTable,
    /// `call`.
    Call,
    /// `call_indirect`.
    CallIndirect,
    /// Integer vector operators lane by lane, widening and narrowing.
    Vector,
    /// Shuffles, moves between lanes and scalars, sums over lanes, and what takes several
    /// instructions: counting bits, shifts of bytes, signs and shifts of 64 bits.
    VectorLane,
    /// Vector multiplication of 16-bit lanes and dot products.
    VectorMul,
    /// Vector multiplication of wider lanes, and with rounding.
    VectorMulWide,
    /// Float vector addition, subtraction, multiplication, sign changes, comparisons.
    VectorFloat,
    /// Float vector minimum, maximum, rounding and conversions.
    VectorConvert,
    /// Float vector division and square root.
    VectorDiv,
    /// Vector loads.
    VectorLoad,
    /// Vector stores.
    VectorStore,
    /// Bulk and growing operators, besides what they pay by length.
    Bulk,
    /// `memory.size`, `table.size`, `table.get`, `table.set`, `ref.is_null`.
    Table,
}

/// Operators that generate no code of their own, or only a jump whose condition was paid before.
const FREE: [&str; 8] = ["Nop", "Drop", "Block", "Loop", "Unreachable", "Return", "Else", "End"];

/// Parts of the names of integer vector operators that take several instructions, or that cross
/// lanes or registers.
const SLOW: [&str; 16] = [
    "Popcnt",
    "I8x16Sh",
    "I64x2ShrS",
    "I64x2Abs",
    "I64x2Neg",
    "I64x2Gt",
    "I64x2Lt",
    "I64x2Ge",
    "I64x2Le",
    "Splat",
    "Lane",
    "Swizzle",
    "AllTrue",
    "AnyTrue",
    "Bitmask",
    "ExtAdd",
];

impl Class {
    /// Every class, in the order of the enumeration.
    pub const ALL: [Self; 32] = [
        Self::Free,
        Self::Const,
        Self::Local,
        Self::Global,
        Self::Int,
        Self::IntMul,
        Self::IntDiv,
        Self::Select,
        Self::Load,
        Self::Store,
        Self::Float,
        Self::FloatMul,
        Self::FloatDiv,
        Self::FloatSqrt,
        Self::FloatMinMax,
        Self::FloatRound,
        Self::Convert,
        Self::Branch,
        Self::BrTable,
        Self::Call,
        Self::CallIndirect,
        Self::Vector,
        Self::VectorLane,
        Self::VectorMul,
        Self::VectorMulWide,
        Self::VectorFloat,
        Self::VectorConvert,
        Self::VectorDiv,
        Self::VectorLoad,
        Self::VectorStore,
        Self::Bulk,
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
            "Br" | "BrIf" | "If" => Self::Branch,
            "BrTable" => Self::BrTable,
            "Call" => Self::Call,
            "CallIndirect" => Self::CallIndirect,
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
            _ if rest.starts_with("Trunc") || rest.starts_with("Reinterpret") => Self::Convert,
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
            _ if ["Convert", "Demote", "Promote", "Reinterpret"]
                .iter()
                .any(|begin| rest.starts_with(begin)) =>
            {
                Self::Convert
            }
            _ => Self::Float,
        }
    }

    fn of_float_vector(rest: &str) -> Self {
        match rest.get(2..).unwrap_or_default() {
            "Div" | "Sqrt" => Self::VectorDiv,
            "Splat" | "ExtractLane" | "ReplaceLane" => Self::VectorLane,
            "Add" | "Sub" | "Mul" | "Neg" | "Abs" => Self::VectorFloat,
            "Eq" | "Ne" | "Lt" | "Gt" | "Le" | "Ge" => Self::VectorFloat,
            _ => Self::VectorConvert,
        }
    }

    fn of_vector(name: &str) -> Self {
        match name {
            _ if name.starts_with("V128Load") => Self::VectorLoad,
            _ if name.starts_with("V128Store") => Self::VectorStore,
            "I32x4Mul" | "I64x2Mul" | "I16x8Q15MulrSatS" => Self::VectorMulWide,
            _ if name.contains("Mul") || name.contains("Dot") => Self::VectorMul,
            _ if name.contains("Trunc") => Self::VectorConvert,
            _ if SLOW.iter().any(|part| name.contains(part)) => Self::VectorLane,
            _ => Self::Vector,
        }
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
            ("I64Mul", Class::IntMul),
            ("I32RemU", Class::IntDiv),
            ("I64Load32S", Class::Load),
            ("I32TruncSatF64S", Class::Convert),
            ("F64Abs", Class::Float),
            ("F32ConvertI32S", Class::Convert),
            ("F64Nearest", Class::FloatRound),
            ("F64x2Sqrt", Class::VectorDiv),
            ("F32x4Mul", Class::VectorFloat),
            ("F32x4Splat", Class::VectorLane),
            ("F32x4Max", Class::VectorConvert),
            ("F64x2Le", Class::VectorFloat),
            ("I64x2Mul", Class::VectorMulWide),
            ("I32x4TruncSatF32x4U", Class::VectorConvert),
            ("I32x4DotI16x8S", Class::VectorMul),
            ("I8x16Shuffle", Class::VectorLane),
            ("I32x4Add", Class::Vector),
            ("V128Load32Lane", Class::VectorLoad),
            ("V128Store", Class::VectorStore),
            ("V128Bitselect", Class::Vector),
            ("V128Const", Class::Const),
            ("MemoryFill", Class::Bulk),
            ("TableGrow", Class::Bulk),
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
