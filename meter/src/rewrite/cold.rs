//! Which branches of a metered function are hardly ever taken: looks at the count that find something,
//! stacks that are used up, NaNs.
//!
//! They are told to engines in the section `metadata.code.branch_hint`, which changes nothing but where
//! code is placed. It matters: a call that is thought likely makes an engine keep the values of a
//! loop in memory.

use super::layout::Layout;
use super::nan::{CANONICAL_32, CANONICAL_64};
use crate::inspect::count;
use wasm_encoder::{BranchHint, BranchHints};
use wasmparser::{BinaryReader, BinaryReaderError, Operator, OperatorsReader};

/// An `if` of which it is known which way it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    /// Its offset into the code.
    at: u32,
    taken: bool,
}

/// The `if` operators of a function's code that go the same way nearly always.
pub(super) fn branches(
    code: &[u8],
    layout: &Layout,
    counter: u32,
) -> Result<Vec<Hint>, BinaryReaderError> {
    let mut operators = OperatorsReader::new(BinaryReader::new(code, 0));
    let mut cold = Vec::new();
    // The last `if`, and what came after it.
    let mut open: Option<(usize, Vec<Operator<'_>>)> = None;
    while !operators.eof() {
        let (op, at) = operators.read_with_offset()?;
        if matches!(op, Operator::If { .. }) {
            open = Some((at, Vec::new()));
        } else if let Some((start, mut inside)) = open.take() {
            inside.push(op);
            if let Some(taken) = way(&inside, layout, counter) {
                cold.push(Hint { at: count(start), taken });
            } else if inside.len() < 4 {
                open = Some((start, inside));
            }
        }
    }
    Ok(cold)
}

/// Whether code begins like that of a branch which the meter expects not to be taken, or always.
fn way(inside: &[Operator<'_>], layout: &Layout, counter: u32) -> Option<bool> {
    let (globals, runtime) = (layout.globals, layout.runtime);
    match inside {
        [Operator::Call { function_index }] if *function_index == runtime.overflow => Some(false),
        [Operator::LocalGet { local_index }, Operator::Call { function_index }]
            if *local_index == counter
                && (*function_index == runtime.slow || *function_index == runtime.bounded) =>
        {
            Some(false)
        }
        [Operator::LocalGet { local_index }, Operator::GlobalGet { global_index }]
            if *local_index == counter && *global_index == globals.mark =>
        {
            Some(false)
        }
        // Only ways out add the counter to a number, and only a look subtracts from it.
        [
            Operator::I64Const { .. },
            Operator::LocalGet { local_index },
            Operator::I64Add,
            Operator::LocalSet { .. },
        ]
        | [Operator::LocalGet { local_index }, Operator::I64Const { .. }, Operator::I64Sub]
            if *local_index == counter =>
        {
            Some(false)
        }
        // Of the meter's own locals only those of stores that wait are looked at so.
        [Operator::Else, Operator::LocalGet { local_index }, Operator::LocalGet { .. }]
            if *local_index > counter =>
        {
            Some(true)
        }
        [Operator::Else, Operator::F32Const { value }, Operator::LocalSet { .. }]
            if value.bits() == CANONICAL_32 =>
        {
            Some(true)
        }
        [Operator::Else, Operator::F64Const { value }, Operator::LocalSet { .. }]
            if value.bits() == CANONICAL_64 =>
        {
            Some(true)
        }
        _ => None,
    }
}

/// Adds the hints of a function whose code begins `base` bytes after its locals do.
pub(super) fn hint(hints: &mut BranchHints, function: u32, base: usize, cold: &[Hint]) {
    if !cold.is_empty() {
        let hints_of = cold.iter().map(|hint| BranchHint {
            branch_func_offset: count(base) + hint.at,
            branch_hint_value: hint.taken.into(),
        });
        hints.function_hints(function, hints_of);
    }
}
