//! Stores that look for NaNs together.
//!
//! A look for each stored float is a branch for each, and those are what NaNs cost code that computes and stores
//! a lot. Of stores with nothing between them but arithmetic the sum is looked at instead: it is a NaN if any
//! of them is, and hardly ever otherwise. The stores wait for the last one of them, which nothing can tell: no
//! operator between them reads memory, calls, or can trap.

use super::body::Op;
use super::count;
use super::nan::{Mends, Shapes};
use wasmparser::Operator;

/// So many stores wait at most; each takes two locals.
const MOST_STORES: usize = 4;

/// Stores of one type, at least two, that wait for the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gather {
    pub shape: Shapes,
    /// Where they stand. The operator before each computes what it stores.
    pub stores: Vec<u32>,
}

/// Finds the stores of a function that can wait for each other.
pub(super) fn gathers(ops: &[Op<'_>], mends: &Mends) -> Vec<Gather> {
    let mut done = Vec::new();
    let mut open: Option<Gather> = None;
    for (at, op) in ops.iter().enumerate() {
        if let Some(shape) = stored(ops, mends, at) {
            let goes_on =
                |gather: &Gather| gather.shape == shape && gather.stores.len() < MOST_STORES;
            if !open.as_ref().is_some_and(goes_on) {
                done.extend(open.take());
            }
            let gather = open.get_or_insert_with(|| Gather { shape, stores: Vec::new() });
            gather.stores.push(count(at));
        } else if !is_arithmetic(&op.op) {
            done.extend(open.take());
        }
    }
    done.extend(open);
    done.retain(|gather| gather.stores.len() > 1);
    done
}

/// The shape of the float that a store takes from the operator before it and that is made canonical in between.
fn stored(ops: &[Op<'_>], mends: &Mends, at: usize) -> Option<Shapes> {
    let shape = match ops[at].op {
        Operator::F64Store { .. } => Shapes::F64,
        Operator::F32Store { .. } => Shapes::F32,
        _ => return None,
    };
    let value =
        at.checked_sub(1).filter(|value| super::nan::produces(&ops[*value].op).is_some())?;
    let mended = mends.after.binary_search_by_key(&count(value), |mend| mend.0).ok()?;
    (mends.after[mended].1 == shape).then_some(shape)
}

/// Whether an operator only computes: it can neither trap nor tell what is in memory.
fn is_arithmetic(op: &Operator<'_>) -> bool {
    use Operator::{
        Drop, F32Abs, F32Add, F32Const, F32Div, F32Max, F32Min, F32Mul, F32Neg, F32Sqrt, F32Sub,
        F64Abs, F64Add, F64Const, F64Div, F64Max, F64Min, F64Mul, F64Neg, F64Sqrt, F64Sub, I32Add,
        I32And, I32Const, I32Mul, I32Or, I32Shl, I32ShrS, I32ShrU, I32Sub, I32Xor, I64Add, I64And,
        I64Const, I64Mul, I64Or, I64Shl, I64ShrS, I64ShrU, I64Sub, I64Xor, LocalGet, LocalSet,
        LocalTee, Select,
    };
    matches!(op, LocalGet { .. } | LocalSet { .. } | LocalTee { .. } | Drop | Select)
        || matches!(op, I32Const { .. } | I64Const { .. } | F32Const { .. } | F64Const { .. })
        || matches!(
            op,
            I32Add | I32Sub | I32Mul | I32And | I32Or | I32Xor | I32Shl | I32ShrS | I32ShrU
        )
        || matches!(
            op,
            I64Add | I64Sub | I64Mul | I64And | I64Or | I64Xor | I64Shl | I64ShrS | I64ShrU
        )
        || matches!(
            op,
            F32Add | F32Sub | F32Mul | F32Div | F32Sqrt | F32Min | F32Max | F32Abs | F32Neg
        )
        || matches!(
            op,
            F64Add | F64Sub | F64Mul | F64Div | F64Sqrt | F64Min | F64Max | F64Abs | F64Neg
        )
}
