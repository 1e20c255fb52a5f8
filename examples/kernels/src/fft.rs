//! Fast Fourier transform of 4,096 complex numbers, one float at a time.

use crate::random::{Checksum, Random};

const POINTS: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Complex {
    re: f64,
    im: f64,
}

impl Complex {
    fn times(self, other: Self) -> Self {
        Self {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }

    fn minus(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }
}

/// The first half of the roots of unity. Halving angles takes square roots only, which round alike
/// everywhere; sine and cosine of different libraries do not.
fn roots() -> Vec<Complex> {
    let mut roots = vec![Complex { re: 1.0, im: 0.0 }, Complex { re: 0.0, im: -1.0 }];
    let mut step = roots[1];
    while roots.len() < POINTS / 2 {
        let cosine = f64::midpoint(1.0, step.re).sqrt();
        step = Complex { re: cosine, im: step.im / (2.0 * cosine) };
        roots = roots.iter().flat_map(|root| [*root, root.times(step)]).collect();
    }
    roots
}

/// Puts each number where the reversed bits of its index say.
fn reorder(data: &mut [Complex]) {
    let bits = data.len().trailing_zeros();
    for at in 0..data.len() {
        let other = at.reverse_bits() >> (usize::BITS - bits);
        if at < other {
            data.swap(at, other);
        }
    }
}

fn transform(data: &mut [Complex], roots: &[Complex]) {
    reorder(data);
    let mut half = 1;
    while half < data.len() {
        let stride = roots.len() / half;
        for block in data.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for ((x, y), root) in low.iter_mut().zip(high).zip(roots.iter().step_by(stride)) {
                let turned = y.times(*root);
                *y = x.minus(turned);
                *x = x.plus(turned);
            }
        }
        half *= 2;
    }
}

/// `times` transforms, each of the result before, scaled so that energy stays the same.
#[inline(never)]
pub(crate) fn transforms(times: u32) -> u64 {
    let mut random = Random::new(9);
    let roots = roots();
    let mut data: Vec<_> =
        (0..POINTS).map(|_| Complex { re: random.float(), im: random.float() }).collect();
    for _ in 0..times {
        transform(&mut data, &roots);
        for value in &mut data {
            value.re *= 1.0 / 64.0;
            value.im *= 1.0 / 64.0;
        }
    }
    let mut sum = Checksum::new();
    for value in data {
        sum.add_float(value.re);
        sum.add_float(value.im);
    }
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_tone_has_a_single_line() {
        let roots = roots();
        let tone = |at: usize| {
            let root = roots[at * 5 % (POINTS / 2)];
            let sign = if (at * 5 / (POINTS / 2)).is_multiple_of(2) { 1.0 } else { -1.0 };
            Complex { re: root.re * sign, im: -root.im * sign }
        };
        let mut data: Vec<_> = (0..POINTS).map(tone).collect();
        transform(&mut data, &roots);
        for (at, value) in data.iter().enumerate() {
            let expected = if at == 5 { 4096.0 } else { 0.0 };
            assert!((value.re - expected).abs() < 1e-8 && value.im.abs() < 1e-8, "{at}");
        }
    }
}
