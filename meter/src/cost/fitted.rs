//! Weights fitted to time: written by `cargo xtask fit-costs`, not by hand. A unit stands for 10 ps
//! of ordinary work on the machine that was measured.

use super::{Class, Unit};

/// Entering a function.
pub(super) const FUNCTION: u32 = 173;

/// An integer comparison that decides.
pub(super) const DECIDING: u32 = 1;

/// A `br_if` to the top of a loop.
pub(super) const BACK: u32 = 8;

/// Operators by class; those not listed weigh nothing.
pub(super) const CLASSES: [(Class, u32); 49] = [
    (Class::Const, 1),
    (Class::Local, 2),
    (Class::Global, 13),
    (Class::Int, 1),
    (Class::IntShift, 8),
    (Class::IntTest, 47),
    (Class::IntCount, 10),
    (Class::IntMul, 44),
    (Class::IntDiv, 95),
    (Class::Select, 15),
    (Class::Load, 8),
    (Class::Store, 5),
    (Class::Float, 11),
    (Class::FloatSign, 42),
    (Class::FloatTest, 9),
    (Class::FloatMul, 4),
    (Class::FloatDiv, 62),
    (Class::FloatSqrt, 205),
    (Class::FloatMinMax, 35),
    (Class::FloatRound, 25),
    (Class::FloatFromInt, 35),
    (Class::FloatToInt, 81),
    (Class::FloatWidth, 30),
    (Class::Reinterpret, 21),
    (Class::Jump, 3),
    (Class::Branch, 127),
    (Class::BrTable, 76),
    (Class::Call, 176),
    (Class::CallIndirect, 195),
    (Class::Vector, 2),
    (Class::VectorTwo, 17),
    (Class::VectorWiden, 18),
    (Class::VectorShift, 10),
    (Class::VectorShiftBytes, 56),
    (Class::VectorLane, 25),
    (Class::VectorAll, 149),
    (Class::VectorMul, 3),
    (Class::VectorMulWide, 28),
    (Class::VectorMulLong, 12),
    (Class::VectorFloat, 11),
    (Class::VectorFloatTwo, 27),
    (Class::VectorConvert, 33),
    (Class::VectorRound, 146),
    (Class::VectorDiv, 151),
    (Class::VectorLoad, 2),
    (Class::VectorStore, 4),
    (Class::Bulk, 352),
    (Class::Grow, 925),
    (Class::Table, 36),
];

/// Bytes, pages and elements.
pub(super) const UNITS: [(Unit, u32); 8] = [
    (Unit::MemoryFill, 1),
    (Unit::MemoryCopy, 1),
    (Unit::MemoryInit, 1),
    (Unit::MemoryGrow, 4194304),
    (Unit::TableFill, 56),
    (Unit::TableCopy, 111),
    (Unit::TableInit, 111),
    (Unit::TableGrow, 56),
];

/// A call of a host function.
pub(super) const HOST_BASE: u32 = 8162;

/// A byte that a host function copies.
pub(super) const HOST_COPIED: u32 = 58;

/// A byte of randomness.
pub(super) const HOST_RANDOM: u32 = 15;
