//! Arithmetic modulo 2^p − 1 on 32-bit limbs, least significant first.

/// A number modulo 2^p − 1 for p ≥ 3, always in 0 ..= 2^p − 2.
#[derive(Debug, Clone)]
pub(crate) struct Residue {
    p: u32,
    limbs: Vec<u32>,
    /// Twice as many limbs, kept between squarings so that none allocates.
    wide: Vec<u32>,
}

impl Residue {
    pub(crate) fn four(p: u32) -> Self {
        let count = p.div_ceil(32) as usize;
        let mut limbs = vec![0; count];
        limbs[0] = 4;
        Self { p, limbs, wide: vec![0; 2 * count + 1] }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.limbs.iter().all(|limb| *limb == 0)
    }

    pub(crate) fn low64(&self) -> u64 {
        let high = self.limbs.get(1).copied().unwrap_or(0);
        u64::from(high) << 32 | u64::from(self.limbs[0])
    }

    /// self := self² − 2.
    pub(crate) fn square_minus_two(&mut self) {
        self.square_wide();
        self.fold_wide();
        self.subtract_two();
        self.normalise();
    }

    /// wide := limbs²: the products above the diagonal once, doubled, then the diagonal.
    fn square_wide(&mut self) {
        self.wide.fill(0);
        let n = self.limbs.len();
        for i in 0..n {
            let factor = self.limbs[i];
            let tail = &self.limbs[i + 1..];
            let carry = add_product(&mut self.wide[2 * i + 1..i + n], tail, factor);
            self.wide[i + n] = carry;
        }
        self.double_and_add_squares();
    }

    fn double_and_add_squares(&mut self) {
        let (mut shifted_out, mut carry) = (0, 0_u64);
        for (i, limb) in self.limbs.iter().enumerate() {
            let square = u64::from(*limb) * u64::from(*limb);
            for (half, part) in [low(square), high(square)].into_iter().enumerate() {
                let slot = &mut self.wide[2 * i + half];
                let doubled = *slot << 1 | shifted_out;
                shifted_out = *slot >> 31;
                carry += u64::from(doubled) + u64::from(part);
                *slot = low(carry);
                carry >>= 32;
            }
        }
    }

    /// limbs := (wide mod 2^p) + (wide div 2^p), which is equal modulo 2^p − 1.
    fn fold_wide(&mut self) {
        let (whole, bits) = ((self.p / 32) as usize, self.p % 32);
        let top = self.limbs.len() - 1;
        let mut carry = 0_u64;
        for i in 0..self.limbs.len() {
            let kept = if i == top { self.wide[i] & self.top_mask() } else { self.wide[i] };
            let pair = u64::from(self.wide_limb(i + whole + 1)) << 32
                | u64::from(self.wide_limb(i + whole));
            carry += u64::from(kept) + u64::from(low(pair >> bits));
            self.limbs[i] = low(carry);
            carry >>= 32;
        }
        self.wrap_top(carry);
    }

    fn wide_limb(&self, index: usize) -> u32 {
        self.wide.get(index).copied().unwrap_or(0)
    }

    fn top_mask(&self) -> u32 {
        u32::MAX >> (31 - (self.p - 1) % 32)
    }

    /// Brings bits at and above p back in at bit 0; the sum before was below 2^(p+1).
    fn wrap_top(&mut self, carry_out: u64) {
        let mask = self.top_mask();
        let top = self.limbs.len() - 1;
        let above = (carry_out << 32 | u64::from(self.limbs[top])) >> (32 - mask.leading_zeros());
        self.limbs[top] &= mask;
        self.add_small(low(above));
    }

    fn add_small(&mut self, value: u32) {
        let mut carry = value;
        for limb in &mut self.limbs {
            let (sum, overflow) = limb.overflowing_add(carry);
            *limb = sum;
            carry = u32::from(overflow);
            if carry == 0 {
                break;
            }
        }
    }

    /// Subtracts 2 modulo 2^p − 1: below 2 that is adding 2^p − 3.
    fn subtract_two(&mut self) {
        let small = self.limbs[1..].iter().all(|limb| *limb == 0) && self.limbs[0] < 2;
        if small {
            let low_limb = self.limbs[0];
            let top = self.limbs.len() - 1;
            self.limbs.fill(u32::MAX);
            self.limbs[top] = self.top_mask();
            // All ones is 2^p − 1; taking 2 − value from it cannot borrow since p ≥ 3.
            self.limbs[0] -= 2 - low_limb;
            return;
        }
        let mut borrow = 2;
        for limb in &mut self.limbs {
            let (difference, underflow) = limb.overflowing_sub(borrow);
            *limb = difference;
            borrow = u32::from(underflow);
        }
    }

    /// 2^p − 1 itself is zero.
    fn normalise(&mut self) {
        let top = self.limbs.len() - 1;
        let ones = self.limbs[..top].iter().all(|limb| *limb == u32::MAX);
        if ones && self.limbs[top] == self.top_mask() {
            self.limbs.fill(0);
        }
    }
}

/// target += tail · factor, limb by limb; returns the carry out of the last limb.
fn add_product(target: &mut [u32], tail: &[u32], factor: u32) -> u32 {
    let mut carry = 0_u64;
    for (slot, limb) in target.iter_mut().zip(tail) {
        carry += u64::from(*limb) * u64::from(factor) + u64::from(*slot);
        *slot = low(carry);
        carry >>= 32;
    }
    low(carry)
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low(value: u64) -> u32 {
    value as u32
}

fn high(value: u64) -> u32 {
    low(value >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(residue: &Residue) -> u128 {
        residue.limbs.iter().rev().fold(0, |sum, limb| sum << 32 | u128::from(*limb))
    }

    #[test]
    fn squares_agree_with_plain_arithmetic_for_small_moduli() {
        for p in 3..=63 {
            let modulus = (1_u128 << p) - 1;
            let (mut residue, mut plain) = (Residue::four(p), 4 % modulus);
            for step in 0..200 {
                residue.square_minus_two();
                plain = (plain * plain + modulus - 2) % modulus;
                assert_eq!(value(&residue), plain, "p = {p}, step {step}");
            }
        }
    }

    #[test]
    fn subtraction_wraps_below_two_and_borrows_across_limbs() {
        for (start, expected) in
            [(0_u128, (1_u128 << 70) - 3), (1, (1 << 70) - 2), (1 << 64, (1 << 64) - 2)]
        {
            let mut residue = Residue::four(70);
            for (i, limb) in residue.limbs.iter_mut().enumerate() {
                *limb = u32::try_from(start >> (32 * i) & 0xffff_ffff).unwrap();
            }
            residue.subtract_two();
            assert_eq!(value(&residue), expected);
        }
    }
}
