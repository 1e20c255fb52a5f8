//! Is 2^p − 1 prime for one large p? A Lucas–Lehmer test that takes long, in steps of some squarings each.

use std::ops::ControlFlow;

use mersenne::{Answer, ExponentError, LucasLehmer};
use tallymill_guest::LongTask;

/// Fuel of a squaring for each pair of its 32-bit limbs, about.
const FUEL_PER_PAIR: u64 = 75;

/// The test of one exponent, or its answer where none is needed.
#[derive(Debug)]
pub enum Test {
    /// What a small factor told at once.
    Decided(Answer),
    /// Squarings are left.
    Running(LucasLehmer),
}

impl LongTask for Test {
    type Input = u32;
    type Output = Answer;
    type Error = ExponentError;

    fn begin(exponent: u32) -> Result<Self, ExponentError> {
        let decided = mersenne::decide_quickly(exponent)?;
        Ok(decided.map_or_else(|| Self::Running(LucasLehmer::new(exponent)), Self::Decided))
    }

    fn step(&mut self, budget: u64) -> Result<ControlFlow<Answer>, ExponentError> {
        let test = match self {
            Self::Decided(answer) => return Ok(ControlFlow::Break(answer.clone())),
            Self::Running(test) => test,
        };
        let limbs = u64::from(test.exponent().div_ceil(32));
        let squarings = (budget / (FUEL_PER_PAIR * limbs * limbs)).max(1);
        let over = (0..squarings).any(|_| !test.square());
        Ok(if over { ControlFlow::Break(test.answer()) } else { ControlFlow::Continue(()) })
    }
}

tallymill_guest::steps!(Test);

#[cfg(test)]
mod tests;
