//! A recording of noise with one weak drifting carrier in it, as `seti` searches them.
//!
//! Format: pairs of signed bytes (in phase, quadrature), one pair per sample.

use crate::random::draw;

/// Complex samples in the recording; a power of two.
pub const SAMPLES: usize = 1 << 15;

/// Frequency of the injected carrier at the first sample, in bins (cycles per recording).
pub const SIGNAL_BIN: u32 = 9_001;

/// Drift of the injected carrier over the whole recording, in bins.
pub const SIGNAL_DRIFT: u32 = 77;

/// Carrier amplitude in steps of the recording; the noise has about 28 per component.
const AMPLITUDE: f64 = 2.0;

const NOISE_SEED: u64 = 0x7461_6c6c_796d_696c;

/// The recording's bytes, the same on every machine.
#[must_use]
pub fn recording() -> Vec<u8> {
    let mut noise = Noise(NOISE_SEED);
    (0..SAMPLES as u64)
        .flat_map(|n| {
            let (cosine, sine) = cis(carrier_turns(n));
            [sample(AMPLITUDE * cosine, &mut noise), sample(AMPLITUDE * sine, &mut noise)]
        })
        .collect()
}

/// Phase of the carrier in turns: f·n/N + ½·d·(n/N)², reduced exactly in integers.
fn carrier_turns(n: u64) -> f64 {
    let samples = SAMPLES as u64;
    let denominator = 2 * samples * samples;
    let numerator = 2 * samples * u64::from(SIGNAL_BIN) * n + u64::from(SIGNAL_DRIFT) * n * n;
    // Both are below 2^53, so the conversion and thus the quotient are exact everywhere.
    (numerator % denominator) as f64 / denominator as f64
}

/// Cosine and sine of a phase in turns (0 ≤ turns < 1) from their Taylor series: only additions
/// and products, because library sines differ between machines in the last bit.
fn cis(turns: f64) -> (f64, f64) {
    let angle = (turns - 0.5) * std::f64::consts::TAU;
    let (mut cosine, mut sine, mut term) = (0.0, 0.0, 1.0);
    // 40 terms leave less than 1e-20 for |angle| ≤ π.
    for k in 0..40_u32 {
        match k % 4 {
            0 => cosine += term,
            1 => sine += term,
            2 => cosine -= term,
            _ => sine -= term,
        }
        term *= angle / f64::from(k + 1);
    }
    // The angle was shifted by half a turn, which flips both signs.
    (-cosine, -sine)
}

fn sample(carrier: f64, noise: &mut Noise) -> u8 {
    let value = (carrier + noise.next()).clamp(-127.0, 127.0);
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i8 above")]
    let byte = value as i8;
    byte.cast_unsigned()
}

/// Bell-shaped noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        // The sum of eight bytes has mean 1020 and deviation √(8·(256²−1)/12) ≈ 209.
        let sum: u32 = draw(&mut self.0).to_le_bytes().into_iter().map(u32::from).sum();
        (f64::from(sum) - 1020.0) * (28.0 / 209.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_sine_and_cosine_agree_with_the_library() {
        for n in 0..1000 {
            let turns = f64::from(n) / 1000.0;
            let (cosine, sine) = cis(turns);
            let angle = turns * std::f64::consts::TAU;
            assert!((cosine - angle.cos()).abs() < 1e-12, "{turns}");
            assert!((sine - angle.sin()).abs() < 1e-12, "{turns}");
        }
    }

    #[test]
    fn noise_has_the_stated_mean_and_deviation() {
        let mut noise = Noise(1);
        let draws: Vec<f64> = (0..20_000).map(|_| noise.next()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 1.0 && (variance.sqrt() - 28.0).abs() < 1.0, "{mean} {variance}");
    }

    #[test]
    fn the_recording_has_two_bytes_per_sample_and_never_changes() {
        let bytes = recording();
        assert_eq!(bytes.len(), 2 * SAMPLES);
        let sum = bytes
            .iter()
            .fold(0_u64, |sum, b| sum.wrapping_mul(0x0100_0000_01b3).wrapping_add(u64::from(*b)));
        assert_eq!(sum, 14_241_148_530_457_329_008, "a fingerprint over all bytes");
    }
}
