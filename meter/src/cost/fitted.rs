//! Weights fitted to time: written by `cargo xtask fit-costs`, not by hand. A unit stands for 10 ps
//! of ordinary work on the machine that was measured.

use super::{Class, Unit};

/// Entering a function.
pub(super) const FUNCTION: u32 = 72;

/// Operators by class; those not listed weigh nothing.
pub(super) const CLASSES: [(Class, u32); 49] = [
    (Class::Const, 1),
    (Class::Local, 3),
    (Class::Global, 7),
    (Class::Int, 1),
    (Class::IntShift, 23),
    (Class::IntTest, 44),
    (Class::IntCount, 22),
    (Class::IntMul, 10),
    (Class::IntDiv, 189),
    (Class::Select, 1),
    (Class::Load, 4),
    (Class::Store, 3),
    (Class::Float, 1),
    (Class::FloatSign, 43),
    (Class::FloatTest, 60),
    (Class::FloatMul, 3),
    (Class::FloatDiv, 69),
    (Class::FloatSqrt, 107),
    (Class::FloatMinMax, 59),
    (Class::FloatRound, 73),
    (Class::FloatFromInt, 5),
    (Class::FloatToInt, 157),
    (Class::FloatWidth, 36),
    (Class::Reinterpret, 19),
    (Class::Jump, 2),
    (Class::Branch, 64),
    (Class::BrTable, 49),
    (Class::Call, 84),
    (Class::CallIndirect, 116),
    (Class::Vector, 2),
    (Class::VectorTwo, 27),
    (Class::VectorWiden, 10),
    (Class::VectorShift, 12),
    (Class::VectorShiftBytes, 82),
    (Class::VectorLane, 33),
    (Class::VectorAll, 128),
    (Class::VectorMul, 3),
    (Class::VectorMulWide, 47),
    (Class::VectorMulLong, 99),
    (Class::VectorFloat, 1),
    (Class::VectorFloatTwo, 44),
    (Class::VectorConvert, 37),
    (Class::VectorRound, 246),
    (Class::VectorDiv, 172),
    (Class::VectorLoad, 1),
    (Class::VectorStore, 2),
    (Class::Bulk, 352),
    (Class::Grow, 795),
    (Class::Table, 44),
];

/// Bytes, pages and elements.
pub(super) const UNITS: [(Unit, u32); 8] = [
    (Unit::MemoryFill, 4),
    (Unit::MemoryCopy, 4),
    (Unit::MemoryInit, 4),
    (Unit::MemoryGrow, 4194304),
    (Unit::TableFill, 36),
    (Unit::TableCopy, 139),
    (Unit::TableInit, 139),
    (Unit::TableGrow, 36),
];

/// A call of a host function.
pub(super) const HOST_BASE: u32 = 6923;

/// A byte that a host function copies.
pub(super) const HOST_COPIED: u32 = 47;

/// A byte of randomness.
pub(super) const HOST_RANDOM: u32 = 19;
