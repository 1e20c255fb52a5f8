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

/// The `if` operators of a function's code that are not taken, as offsets into it.
pub(super) fn branches(
    code: &[u8],
    layout: &Layout,
    counter: u32,
) -> Result<Vec<u32>, BinaryReaderError> {
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
            if is_cold(&inside, layout, counter) {
                cold.push(count(start));
            } else if inside.len() < 2 {
                open = Some((start, inside));
            }
        }
    }
    Ok(cold)
}

/// Whether code begins like that of a branch which the meter expects not to be taken.
fn is_cold(inside: &[Operator<'_>], layout: &Layout, counter: u32) -> bool {
    match inside {
        [Operator::Call { function_index }] => *function_index == layout.runtime.overflow,
        [Operator::LocalGet { local_index }, Operator::Call { function_index }] => {
            *local_index == counter && *function_index == layout.runtime.slow
        }
        [Operator::F32Const { value }, Operator::LocalSet { .. }] => value.bits() == CANONICAL_32,
        [Operator::F64Const { value }, Operator::LocalSet { .. }] => value.bits() == CANONICAL_64,
        _ => false,
    }
}

/// Adds the hints of a function whose code begins `base` bytes after its locals do.
pub(super) fn hint(hints: &mut BranchHints, function: u32, base: usize, cold: &[u32]) {
    if !cold.is_empty() {
        let hints_of = cold
            .iter()
            .map(|at| BranchHint { branch_func_offset: count(base) + at, branch_hint_value: 0 });
        hints.function_hints(function, hints_of);
    }
}
