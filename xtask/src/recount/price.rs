//! The price of one receipt, from the published tariff: exact fractions, rounded up once at the end.

use anyhow::Context;
use tallymill_protocol::{Receipt, Tariff};

/// Seconds that an output is kept for its price: seven days.
const KEPT: u128 = 604_800;
const DAY: u128 = 86_400;
const MIB: u128 = 1_048_576;
const GIB: u128 = 1_073_741_824;
const BILLION: u128 = 1_000_000_000;
/// Pages of 64 KiB in a GiB.
const PAGES: u128 = 16_384;

/// Numerator and denominator.
type Fraction = (u128, u128);

/// Micro-credits for what the receipt says was used, without the fee for compiling.
pub(crate) fn price(tariff: &Tariff, receipt: &Receipt) -> anyhow::Result<i128> {
    let bytes_out = u128::from(receipt.bytes_out);
    let terms = [
        (tariff.fuel, u128::from(receipt.fuel), BILLION),
        (tariff.input, u128::from(receipt.bytes_in), MIB),
        (tariff.output, bytes_out, MIB),
        (tariff.storage, bytes_out * KEPT, GIB * DAY),
        (tariff.memory, u128::from(receipt.memory_fuel), PAGES * BILLION),
        (tariff.task, 1, 1),
    ];
    let sum = terms.into_iter().try_fold((0, 1), |sum, (rate, quantity, unit)| {
        add(sum, reduced(u128::from(rate).checked_mul(quantity)?, unit))
    });
    let (numerator, denominator) = sum.context("a receipt's price is beyond 128 bits")?;
    Ok(i128::try_from(numerator.div_ceil(denominator))?)
}

fn add(a: Fraction, b: Fraction) -> Option<Fraction> {
    let common = a.1.checked_mul(b.1 / gcd(a.1, b.1))?;
    let left = a.0.checked_mul(common / a.1)?;
    let right = b.0.checked_mul(common / b.1)?;
    Some(reduced(left.checked_add(right)?, common))
}

fn reduced(numerator: u128, denominator: u128) -> Fraction {
    let divisor = gcd(numerator, denominator);
    (numerator / divisor, denominator / divisor)
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::receipt;
    use super::*;

    #[test]
    fn fuel_is_rounded_up_per_receipt() {
        let tariff = Tariff::default();
        let of = |fuel| price(&tariff, &receipt(0, fuel)).unwrap();
        assert_eq!([of(0), of(1), of(1_000), of(1_001)], [0, 1, 1, 2]);
    }

    #[test]
    fn every_term_counts_and_fractions_are_added_before_rounding() {
        let tariff =
            Tariff { fuel: 1, input: 1, output: 1, storage: 1, memory: 1, task: 5, compile: 9 };
        let mut used = receipt(0, 500_000_000);
        (used.bytes_in, used.bytes_out) = (262_144, 262_144);
        // 1/2 + 1/4 + 1/4 + 7/4096 + 5, and then the memory of one page over all that fuel: 1/32768.
        used.memory_fuel = 500_000_000;
        assert_eq!(price(&tariff, &used).unwrap(), 7);
        (used.bytes_out, used.memory_fuel) = (0, 0);
        assert_eq!(price(&tariff, &used).unwrap(), 6);
    }
}
