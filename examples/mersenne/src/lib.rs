//! Is 2^p − 1 prime? The Lucas–Lehmer test of one exponent per task.
//!
//! A composite exponent and a small factor are answered at once; what is left takes p − 2
//! squarings modulo 2^p − 1, which is cheap because 2^p ≡ 1 turns division into shift and add.

mod residue;

use residue::Residue;
use serde::{Deserialize, Serialize};

/// Exponents above this are refused: a task of that size belongs into more than one step.
pub const MAX_EXPONENT: u32 = 100_000;

/// Factors 2kp + 1 are tried for k up to this; dearer than this the test itself is quicker.
const TRIAL_MULTIPLES: u64 = 200;

/// What a task says about 2^exponent − 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The exponent p.
    pub exponent: u32,
    /// Whether 2^p − 1 is prime.
    pub prime: bool,
    /// Why, in a form that can be checked against other programs.
    pub evidence: Evidence,
}

/// The reason behind an [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// 2^2 − 1 = 3, the one prime exponent the Lucas–Lehmer test does not cover.
    Three,
    /// d divides p, so 2^d − 1 divides 2^p − 1.
    DivisorOfExponent(u32),
    /// This number divides 2^p − 1.
    Factor(u64),
    /// The lowest 64 bits of the last Lucas–Lehmer term, in hexadecimal; all zero for a prime.
    Residue(String),
}

/// An exponent outside 2..=[`MAX_EXPONENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("exponent {exponent} is outside 2..={MAX_EXPONENT}")]
pub struct ExponentError {
    /// What was asked for.
    pub exponent: u32,
}

/// Decides whether 2^`exponent` − 1 is prime.
///
/// # Errors
/// [`ExponentError`] when the exponent is outside 2..=[`MAX_EXPONENT`].
///
/// ```
/// assert!(mersenne::decide(13).is_ok_and(|answer| answer.prime));
/// assert!(mersenne::decide(11).is_ok_and(|answer| !answer.prime)); // 2047 = 23 · 89
/// ```
pub fn decide(exponent: u32) -> Result<Answer, ExponentError> {
    let quickly = decide_quickly(exponent)?;
    Ok(quickly.unwrap_or_else(|| {
        let (prime, evidence) = lucas_lehmer(exponent);
        Answer { exponent, prime, evidence }
    }))
}

/// Decides without a test where a small factor does; `None` leaves it to the test.
///
/// # Errors
/// As [`decide`].
pub fn decide_quickly(exponent: u32) -> Result<Option<Answer>, ExponentError> {
    if !(2..=MAX_EXPONENT).contains(&exponent) {
        return Err(ExponentError { exponent });
    }
    let (prime, evidence) = if exponent == 2 {
        (true, Evidence::Three)
    } else if let Some(divisor) = smallest_divisor(exponent) {
        (false, Evidence::DivisorOfExponent(divisor))
    } else if let Some(factor) = small_factor(exponent) {
        (false, Evidence::Factor(factor))
    } else {
        return Ok(None);
    };
    Ok(Some(Answer { exponent, prime, evidence }))
}

fn smallest_divisor(n: u32) -> Option<u32> {
    (2..).take_while(|d| d * d <= n).find(|d| n.is_multiple_of(*d))
}

/// A proper factor of 2^p − 1 for an odd prime p: each has the form 2kp + 1 and is ±1 modulo 8
/// (Euler; see Crandall and Pomerance, Prime Numbers, section 1.3).
fn small_factor(p: u32) -> Option<u64> {
    let step = 2 * u64::from(p);
    (1..=TRIAL_MULTIPLES)
        .map(|k| k * step + 1)
        .filter(|q| matches!(q % 8, 1 | 7))
        .take_while(|q| p >= 64 || *q < (1_u64 << p) - 1)
        .find(|q| power_of_two_mod(p, *q) == 1)
}

/// 2^exponent mod `modulus`; moduli stay below 2^32 here, so products are far inside u128.
fn power_of_two_mod(exponent: u32, modulus: u64) -> u64 {
    let modulus = u128::from(modulus);
    let mut power = 1_u128;
    for bit in (0..32 - exponent.leading_zeros()).rev() {
        power = power * power % modulus;
        if exponent >> bit & 1 == 1 {
            power = power * 2 % modulus;
        }
    }
    u64::try_from(power).unwrap_or(u64::MAX)
}

/// 2^p − 1 is prime if and only if s(p−2) ≡ 0, with s(0) = 4 and s(n+1) = s(n)² − 2
/// (Lehmer 1930).
fn lucas_lehmer(p: u32) -> (bool, Evidence) {
    let mut term = Residue::four(p);
    for _ in 0..p - 2 {
        term.square_minus_two();
    }
    evidence(&term)
}

fn evidence(term: &Residue) -> (bool, Evidence) {
    (term.is_zero(), Evidence::Residue(format!("{:016x}", term.low64())))
}

/// The test of one exponent, squaring by squaring.
#[derive(Debug)]
pub struct LucasLehmer {
    exponent: u32,
    left: u32,
    term: Residue,
}

impl LucasLehmer {
    /// The test of an odd prime exponent, before its first squaring.
    #[must_use]
    pub fn new(exponent: u32) -> Self {
        Self { exponent, left: exponent.saturating_sub(2), term: Residue::four(exponent) }
    }

    /// The exponent p.
    #[must_use]
    pub const fn exponent(&self) -> u32 {
        self.exponent
    }

    /// Does one squaring; `false` when none is left.
    pub fn square(&mut self) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        self.term.square_minus_two();
        true
    }

    /// What the test says once no squaring is left.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let (prime, evidence) = evidence(&self.term);
        Answer { exponent: self.exponent, prime, evidence }
    }
}

#[cfg(test)]
mod tests;
