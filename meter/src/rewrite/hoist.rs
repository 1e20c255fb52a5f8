//! The code around a loop that is paid before it runs.
//!
//! ```text
//! loop
//!   block
//!     trips := rounds until the loop ends, 0 if that cannot be told
//!     paid := as many of them as leave the count at or below 0, whatever they do
//!     if paid > 0
//!       count += paid × what every round costs; bound := counter + paid × step
//!       loop … branch back while counter ≠ bound end   (on ways out: count −= rounds not begun × cost)
//!       leave if paid = trips
//!     end
//!     one round the plain way, branch back
//!   end
//!   what the guest has behind its branch back
//! end
//! ```

use crate::inspect::{Bound, Compare, Hoist, Step};
use wasm_encoder::{BlockType, InstructionSink, ValType};

/// The meter's locals for a loop that is paid ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds {
    trips: u32,
    paid: u32,
    /// What the counter is compared with in the copy without charges.
    pub bound: u32,
}

impl Rounds {
    pub(super) const TYPES: [ValType; 3] = [ValType::I64, ValType::I64, ValType::I32];

    pub(super) fn new(first: u32) -> Self {
        Self { trips: first, paid: first + 1, bound: first + 2 }
    }
}

/// From the head of the outer loop to the copy without charges, which the caller writes.
pub(super) fn begin(code: &mut InstructionSink<'_>, hoist: &Hoist, rounds: Rounds, counter: u32) {
    let (cost, most) = (hoist.cost.cast_signed(), hoist.most.cast_signed());
    match (hoist.compare, hoist.step) {
        (Compare::Unequal, Step::Const(step)) => unequal(code, hoist, rounds, step),
        (Compare::Unequal, Step::Local { .. }) => {
            code.i64_const(0);
        }
        (Compare::Ordered { signed, equal }, _) => ordered(code, hoist, rounds, (signed, equal)),
    }
    code.local_tee(rounds.trips).local_set(rounds.paid);
    code.local_get(rounds.trips).i64_const(most).i64_mul().local_get(counter).i64_add();
    code.i64_const(0).i64_gt_s().if_(BlockType::Empty);
    code.i64_const(0).local_get(counter).i64_sub().i64_const(most).i64_div_s();
    code.local_set(rounds.paid).end();
    code.local_get(rounds.paid).i64_const(0).i64_gt_s().if_(BlockType::Empty);
    code.local_get(rounds.paid).i64_const(cost).i64_mul().local_get(counter).i64_add();
    code.local_set(counter);
    code.local_get(rounds.paid).i32_wrap_i64();
    step(code, hoist.step);
    code.i32_mul();
    code.local_get(hoist.counter).i32_add().local_set(rounds.bound);
}

/// From the copy without charges to the plain round: leaves if nothing is left to do.
pub(super) fn finish(code: &mut InstructionSink<'_>, rounds: Rounds) {
    code.local_get(rounds.paid).local_get(rounds.trips).i64_eq().br_if(1).end();
}

/// On a way out of the copy without charges: gives back what was paid for rounds that did not begin. `stepped` says
/// whether the counter is that of the next round already.
pub(super) fn give_back(
    code: &mut InstructionSink<'_>,
    hoist: &Hoist,
    rounds: Rounds,
    counter: u32,
    stepped: bool,
) {
    code.local_get(counter);
    let (from, to) = if hoist.step.is_up() {
        (hoist.counter, rounds.bound)
    } else {
        (rounds.bound, hoist.counter)
    };
    code.local_get(to).local_get(from).i32_sub().i64_extend_i32_u();
    size(code, hoist.step);
    code.i64_div_u();
    if !stepped {
        code.i64_const(1).i64_sub();
    }
    code.i64_const(hoist.cost.cast_signed()).i64_mul().i64_sub().local_set(counter);
}

fn bound(code: &mut InstructionSink<'_>, bound: Bound) {
    match bound {
        Bound::Const(value) => code.i32_const(value),
        Bound::Local(local) => code.local_get(local),
    };
}

/// The distance on the circle of 32 bits, if it is a number of whole steps. A distance of 0 is a whole
/// turn: it is left to the plain way.
fn unequal(code: &mut InstructionSink<'_>, hoist: &Hoist, rounds: Rounds, step: i32) {
    let size = step.unsigned_abs();
    if step > 0 {
        bound(code, hoist.bound);
        code.local_get(hoist.counter);
    } else {
        code.local_get(hoist.counter);
        bound(code, hoist.bound);
    }
    code.i32_sub();
    if size > 1 {
        code.local_tee(rounds.bound);
        let size = size.cast_signed();
        // Engines turn a division by a constant into a shift or a multiplication.
        code.i32_const(size).i32_div_u().i32_const(0);
        code.local_get(rounds.bound).i32_const(size).i32_rem_u().i32_eqz().select();
    }
    code.i64_extend_i32_u();
}

/// The distance on the line, in 64 bits, rounded up to whole steps, if there is any and the last round
/// leaves the counter in the range of its type.
fn ordered(
    code: &mut InstructionSink<'_>,
    hoist: &Hoist,
    rounds: Rounds,
    (signed, equal): (bool, bool),
) {
    let wide = |code: &mut InstructionSink<'_>| {
        if signed {
            code.i64_extend_i32_s()
        } else {
            code.i64_extend_i32_u()
        };
    };
    let limit = |code: &mut InstructionSink<'_>| {
        bound(code, hoist.bound);
        wide(code);
    };
    let up = hoist.step.is_up();
    limit(code);
    code.local_get(hoist.counter);
    wide(code);
    code.i64_sub();
    if !up {
        code.i64_const(-1).i64_mul();
    }
    code.i64_const(i64::from(equal)).i64_add().local_set(rounds.trips);
    // A step that is not above 0 is told below; until then nothing may be divided by it.
    size(code, hoist.step);
    code.local_set(rounds.paid);
    code.local_get(rounds.trips).local_get(rounds.paid).i64_add().i64_const(1).i64_sub();
    size(code, hoist.step);
    code.i64_div_u().i64_const(0);
    code.local_get(rounds.trips).i64_const(0).i64_gt_s();
    if let Step::Local { up, .. } = hoist.step {
        leads(code, hoist.step, up);
        code.i32_and();
    }
    // The bound and, beyond it, all of a step but one.
    limit(code);
    code.local_get(rounds.paid).i64_const(1 - i64::from(equal)).i64_sub();
    let (least, most) =
        if signed { (i64::from(i32::MIN), i64::from(i32::MAX)) } else { (0, i64::from(u32::MAX)) };
    if up {
        code.i64_add().i64_const(most).i64_le_s();
    } else {
        code.i64_sub().i64_const(least).i64_ge_s();
    }
    code.i32_and().select();
}

/// The size of a step, at least 1.
fn size(code: &mut InstructionSink<'_>, step: Step) {
    match step {
        Step::Const(step) => code.i64_const(i64::from(step.unsigned_abs())),
        Step::Local { local, minus, up } => {
            let toward = Step::Local { local, minus: minus == up, up };
            self::step(code, toward);
            code.i64_extend_i32_u().i64_const(1);
            leads(code, step, up);
            code.select()
        }
    };
}

/// The step itself.
fn step(code: &mut InstructionSink<'_>, step: Step) {
    match step {
        Step::Const(step) => code.i32_const(step),
        Step::Local { local, minus: true, .. } => code.i32_const(0).local_get(local).i32_sub(),
        Step::Local { local, .. } => code.local_get(local),
    };
}

/// Whether a step has the sign that leads to the bound.
fn leads(code: &mut InstructionSink<'_>, step: Step, up: bool) {
    self::step(code, step);
    code.i32_const(0);
    if up {
        code.i32_gt_s()
    } else {
        code.i32_lt_s()
    };
}
