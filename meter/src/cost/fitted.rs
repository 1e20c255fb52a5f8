//! Weights fitted to time: written by `cargo xtask fit-costs`, not by hand. A unit stands for 10 ps
//! of ordinary work on the machine that was measured.

use super::{Class, Unit};

/// Entering a function.
pub(super) const FUNCTION: u32 = 77;

/// Operators by class; those not listed weigh nothing.
pub(super) const CLASSES: [(Class, u32); 49] = [
    (Class::Const, 1),
    (Class::Local, 2),
    (Class::Global, 10),
    (Class::Int, 2),
    (Class::IntShift, 23),
    (Class::IntTest, 29),
    (Class::IntCount, 29),
    (Class::IntMul, 15),
    (Class::IntDiv, 204),
    (Class::Select, 5),
    (Class::Load, 26),
    (Class::Store, 6),
    (Class::Float, 5),
    (Class::FloatSign, 49),
    (Class::FloatTest, 61),
    (Class::FloatMul, 7),
    (Class::FloatDiv, 78),
    (Class::FloatSqrt, 118),
    (Class::FloatMinMax, 66),
    (Class::FloatRound, 84),
    (Class::FloatFromInt, 14),
    (Class::FloatToInt, 163),
    (Class::FloatWidth, 42),
    (Class::Reinterpret, 25),
    (Class::Jump, 3),
    (Class::Branch, 82),
    (Class::BrTable, 51),
    (Class::Call, 75),
    (Class::CallIndirect, 169),
    (Class::Vector, 4),
    (Class::VectorTwo, 31),
    (Class::VectorWiden, 14),
    (Class::VectorShift, 18),
    (Class::VectorShiftBytes, 92),
    (Class::VectorLane, 37),
    (Class::VectorAll, 150),
    (Class::VectorMul, 8),
    (Class::VectorMulWide, 55),
    (Class::VectorMulLong, 329),
    (Class::VectorFloat, 10),
    (Class::VectorFloatTwo, 47),
    (Class::VectorConvert, 40),
    (Class::VectorRound, 280),
    (Class::VectorDiv, 196),
    (Class::VectorLoad, 2),
    (Class::VectorStore, 4),
    (Class::Bulk, 676),
    (Class::Grow, 3623),
    (Class::Table, 48),
];

/// Bytes, pages and elements.
pub(super) const UNITS: [(Unit, u32); 8] = [
    (Unit::MemoryFill, 7),
    (Unit::MemoryCopy, 7),
    (Unit::MemoryInit, 7),
    (Unit::MemoryGrow, 4194304),
    (Unit::TableFill, 41),
    (Unit::TableCopy, 162),
    (Unit::TableInit, 162),
    (Unit::TableGrow, 41),
];

/// A call of a host function.
pub(super) const HOST_BASE: u32 = 7842;

/// A byte that a host function copies.
pub(super) const HOST_COPIED: u32 = 60;

/// A byte of randomness.
pub(super) const HOST_RANDOM: u32 = 21;
