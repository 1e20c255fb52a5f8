//! The code that makes a NaN canonical, and the one that scrambles it for tests.

use super::layout::Types;
use super::{Code, function};
use crate::inspect::{Gather, Mends, Shapes, count};
use wasm_encoder::{BlockType, Function, Ieee32, Ieee64, InstructionSink, ValType};
use wasmparser::Operator;

pub(super) const CANONICAL_32: u32 = 0x7fc0_0000;
pub(super) const CANONICAL_64: u64 = 0x7ff8_0000_0000_0000;

/// Lanes of the canonical NaN, as one number.
fn canonical_lanes(shape: Shapes) -> i128 {
    let lanes = if shape == Shapes::F32X4 {
        u128::from(CANONICAL_32) * 0x1_0000_0001_0000_0001_0000_0001
    } else {
        u128::from(CANONICAL_64) * 0x1_0000_0000_0000_0001
    };
    lanes.cast_signed()
}

fn value_type(shape: Shapes) -> ValType {
    match shape {
        Shapes::F32 => ValType::F32,
        Shapes::F64 => ValType::F64,
        _ => ValType::V128,
    }
}

/// Locals in which values from the operand stack are kept while they are compared.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    locals: Vec<(ValType, u32)>,
}

impl Scratch {
    /// One local, from `first` on, for each type that is mended on the operand stack.
    pub(super) fn new(mends: &Mends, first: u32) -> Self {
        let mut scratch = Self::default();
        for (_, shape) in &mends.after {
            let ty = value_type(*shape);
            if scratch.locals.iter().all(|(known, _)| *known != ty) {
                scratch.locals.push((ty, first + count(scratch.locals.len())));
            }
        }
        scratch
    }

    pub(super) fn types(&self) -> impl Iterator<Item = ValType> {
        self.locals.iter().map(|(ty, _)| *ty)
    }

    /// Makes what the operator has left on top of the stack canonical.
    pub(super) fn mend(&self, code: &mut InstructionSink<'_>, op: &Operator<'_>, shape: Shapes) {
        let kept = match op {
            Operator::LocalGet { local_index } | Operator::LocalTee { local_index } => {
                code.drop();
                *local_index
            }
            _ => {
                let ty = value_type(shape);
                let local = self.locals.iter().find(|(known, _)| *known == ty);
                let local = local.map_or(0, |(_, local)| *local);
                code.local_set(local);
                local
            }
        };
        mend_local(code, kept, shape);
        code.local_get(kept);
    }
}

/// Makes what a local holds canonical. A NaN is what does not equal itself. For scalars a jump that is
/// never taken costs less than a selection, and processors tell "not less" by one flag, "equal" by two.
pub(super) fn mend_local(code: &mut InstructionSink<'_>, local: u32, shape: Shapes) {
    match shape {
        Shapes::F32 => {
            code.local_get(local).local_get(local).f32_ge().if_(BlockType::Empty).else_();
            code.f32_const(Ieee32::new(CANONICAL_32)).local_set(local).end();
        }
        Shapes::F64 => {
            code.local_get(local).local_get(local).f64_ge().if_(BlockType::Empty).else_();
            code.f64_const(Ieee64::new(CANONICAL_64)).local_set(local).end();
        }
        _ => {
            code.local_get(local).v128_const(canonical_lanes(shape));
            code.local_get(local).local_get(local);
            let eq = if shape == Shapes::F32X4 { code.f32x4_eq() } else { code.f64x2_eq() };
            eq.v128_bitselect().local_set(local);
        }
    }
}

/// Locals in which stores wait for each other; see [`crate::inspect::Gather`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    first: u32,
    /// How many of each type: addresses, then values. A frame has none that are not needed.
    addresses: u32,
    f32s: u32,
    f64s: u32,
}

impl Waiting {
    pub(super) fn new(gathers: &[Gather], first: u32) -> Self {
        let most = |shape: Shapes| {
            let lengths = gathers.iter().filter(|gather| gather.shape == shape);
            lengths.map(|gather| count(gather.stores.len())).max().unwrap_or_default()
        };
        let (f32s, f64s) = (most(Shapes::F32), most(Shapes::F64));
        Self { first, addresses: f32s.max(f64s), f32s, f64s }
    }

    pub(super) fn types(self) -> [(u32, ValType); 3] {
        [(self.addresses, ValType::I32), (self.f32s, ValType::F32), (self.f64s, ValType::F64)]
    }

    fn address(self, index: u32) -> u32 {
        self.first + index
    }

    fn value(self, shape: Shapes, index: u32) -> u32 {
        let others = if shape == Shapes::F32 { 0 } else { self.f32s };
        self.first + self.addresses + others + index
    }

    /// Takes what a store would, from the operand stack.
    pub(super) fn put(self, code: &mut InstructionSink<'_>, shape: Shapes, index: u32) {
        code.local_set(self.value(shape, index)).local_set(self.address(index));
    }

    /// Gives it back.
    pub(super) fn take(self, code: &mut InstructionSink<'_>, shape: Shapes, index: u32) {
        code.local_get(self.address(index)).local_get(self.value(shape, index));
    }

    /// Makes the first values canonical. Only if their sum is a NaN one of them can be.
    pub(super) fn mend(self, code: &mut InstructionSink<'_>, shape: Shapes, values: u32) {
        let sum = |code: &mut InstructionSink<'_>| {
            code.local_get(self.value(shape, 0));
            for index in 1..values {
                code.local_get(self.value(shape, index));
                if shape == Shapes::F32 {
                    code.f32_add()
                } else {
                    code.f64_add()
                };
            }
        };
        sum(code);
        sum(code);
        if shape == Shapes::F32 {
            code.f32_ge()
        } else {
            code.f64_ge()
        };
        code.if_(BlockType::Empty).else_();
        for index in 0..values {
            mend_local(code, self.value(shape, index), shape);
        }
        code.end();
    }
}

/// The shapes that a scrambler works on, in the order of its functions.
pub(super) const SCRAMBLED: [Shapes; 4] = [Shapes::F32, Shapes::F64, Shapes::F32X4, Shapes::F64X2];

/// Functions that answer their argument with every NaN in it replaced by random bits: any sign, any
/// payload, quiet. That is what arithmetic may leave when it is given such a NaN, and more than it may
/// leave otherwise. `state` is the global of the generator.
pub(super) fn scramblers(state: u32, types: &mut Types) -> Vec<Code> {
    let code = |shape| {
        let ty = value_type(shape);
        let body = function(&[ty], |code| scrambler(code, state, shape));
        (ty, body)
    };
    SCRAMBLED
        .map(code)
        .into_iter()
        .map(|(ty, body): (ValType, Function)| Code::new(types, &[ty], &[ty], body))
        .collect()
}

fn scrambler(code: &mut InstructionSink<'_>, state: u32, shape: Shapes) {
    match shape {
        Shapes::F32 => {
            code.local_get(0).local_get(0).f32_ne().if_(BlockType::Empty);
            random(code, state);
            code.i32_wrap_i64().i32_const(CANONICAL_32.cast_signed()).i32_or();
            code.f32_reinterpret_i32().local_set(0).end().local_get(0);
        }
        Shapes::F64 => {
            code.local_get(0).local_get(0).f64_ne().if_(BlockType::Empty);
            random(code, state);
            code.i64_const(CANONICAL_64.cast_signed()).i64_or();
            code.f64_reinterpret_i64().local_set(0).end().local_get(0);
        }
        _ => {
            code.local_get(0);
            random(code, state);
            code.i64x2_splat();
            random(code, state);
            code.i64x2_replace_lane(1).v128_const(canonical_lanes(shape)).v128_or();
            code.local_get(0).local_get(0);
            let eq = if shape == Shapes::F32X4 { code.f32x4_eq() } else { code.f64x2_eq() };
            eq.v128_bitselect();
        }
    }
}

/// Steps the generator (xorshift) and pushes its state.
fn random(code: &mut InstructionSink<'_>, state: u32) {
    code.global_get(state).global_get(state).i64_const(13).i64_shl().i64_xor().global_set(state);
    code.global_get(state).global_get(state).i64_const(7).i64_shr_u().i64_xor().global_set(state);
    code.global_get(state).global_get(state).i64_const(17).i64_shl().i64_xor().global_set(state);
    code.global_get(state);
}
