//! Sieve of Eratosthenes, tests of primality by powers, and a spectral norm: stores, remainders,
//! float divisions.

use crate::random::Checksum;

/// Numbers whose flags are crossed out together: few enough to stay in a processor's cache.
const SEGMENT: usize = 128 * 1024;

fn flags(limit: usize) -> Vec<bool> {
    let mut prime = vec![true; limit + 1];
    prime[..2.min(limit + 1)].fill(false);
    let mut number = 2;
    while number * number <= limit {
        if prime[number] {
            prime[number * number..].iter_mut().step_by(number).for_each(|flag| *flag = false);
        }
        number += 1;
    }
    prime
}

/// Number and sum of the primes up to `limit`.
fn primes(limit: usize) -> (u64, u64) {
    let small = flags(limit.isqrt());
    let small: Vec<usize> = (0..small.len()).filter(|number| small[*number]).collect();
    let (mut count, mut total) = (0, 0);
    let mut prime = vec![true; SEGMENT];
    for start in (0..=limit).step_by(SEGMENT) {
        let prime = &mut prime[..SEGMENT.min(limit + 1 - start)];
        prime.fill(true);
        for number in &small {
            // Smaller multiples have a smaller factor.
            let first = (number * number).max(start.next_multiple_of(*number)) - start;
            prime.iter_mut().skip(first).step_by(*number).for_each(|flag| *flag = false);
        }
        for (offset, _) in prime.iter().enumerate().filter(|(_, prime)| **prime) {
            if start + offset > 1 {
                count += 1;
                total += (start + offset) as u64;
            }
        }
    }
    (count, total)
}

/// Primes up to `limit`, by crossing out multiples in one segment after the other.
#[inline(never)]
pub(crate) fn sieve(limit: u32) -> u64 {
    let (count, total) = primes(limit as usize);
    let mut sum = Checksum::new();
    sum.add(count);
    sum.add(total);
    sum.value()
}

fn power(base: u64, mut exponent: u64, modulus: u64) -> u64 {
    let (mut result, mut square) = (1, base % modulus);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * square % modulus;
        }
        square = square * square % modulus;
        exponent >>= 1;
    }
    result
}

/// Miller's test with bases that are enough for 32 bits (Jaeschke 1993).
fn is_prime(number: u64) -> bool {
    if number < 2 || number.is_multiple_of(2) {
        return number == 2;
    }
    let twos = (number - 1).trailing_zeros();
    let odd = (number - 1) >> twos;
    [2, 7, 61].into_iter().all(|base| {
        let mut value = power(base, odd, number);
        let passes = base % number == 0 || value == 1 || value == number - 1;
        passes
            || (1..twos).any(|_| {
                value = value * value % number;
                value == number - 1
            })
    })
}

/// Tests `count` odd numbers from 3,000,000,001 on.
#[inline(never)]
pub(crate) fn primes_by_powers(count: u32) -> u64 {
    let mut sum = Checksum::new();
    let from = 3_000_000_001_u64;
    let odd = (0..u64::from(count)).map(|step| from + 2 * step);
    odd.filter(|number| is_prime(*number)).for_each(|prime| sum.add(prime));
    sum.value()
}

/// Element of the infinite matrix 1, 1/2, 1/3; 1/3, 1/4…
fn element(row: u32, column: u32) -> f64 {
    let diagonal = row + column;
    1.0 / f64::from(diagonal * (diagonal + 1) / 2 + row + 1)
}

fn multiply(vector: &[f64], element: impl Fn(u32, u32) -> f64) -> Vec<f64> {
    let rows = (0..).take(vector.len());
    let row = |row| (0..).zip(vector).fold(0.0, |sum, (column, v)| sum + element(row, column) * v);
    rows.map(row).collect()
}

fn norm(side: usize, rounds: u32) -> f64 {
    let both = |vector: &[f64]| {
        let forth = multiply(vector, element);
        multiply(&forth, |row, column| element(column, row))
    };
    let (mut u, mut v) = (vec![1.0; side], Vec::new());
    for _ in 0..rounds {
        v = both(&u);
        u = both(&v);
    }
    let dot = |x: &[f64]| x.iter().zip(&v).fold(0.0, |sum, (x, y)| sum + x * y);
    (dot(&u) / dot(&v)).sqrt()
}

/// The spectral norm of the first `side` rows and columns, by the power method.
#[inline(never)]
pub(crate) fn spectral_norm(side: u32) -> u64 {
    let mut sum = Checksum::new();
    sum.add_float(norm(side as usize, 2));
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_counted_right() {
        let count = |limit| flags(limit).iter().filter(|prime| **prime).count();
        assert_eq!([count(1), count(2), count(100), count(100_000)], [0, 1, 25, 9592]);
        assert_eq!([1, 2, 10].map(primes), [(0, 0), (1, 2), (4, 17)]);
        // Over several segments; the second is OEIS A046731(6).
        assert_eq!(primes(1_000_000), (78_498, 37_550_402_023));
    }

    #[test]
    fn both_tests_of_primality_agree() {
        let by_sieve = flags(20_000);
        for (number, prime) in (0..).zip(by_sieve) {
            assert_eq!(is_prime(number), prime, "{number}");
        }
        assert!(is_prime(4_294_967_291) && !is_prime(4_294_967_295));
    }

    #[test]
    fn the_norm_is_the_published_one() {
        assert!((norm(100, 10) - 1.274_219_991).abs() < 1e-9);
    }
}
