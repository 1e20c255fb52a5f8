//! Is there a carrier in the noise whose frequency drifts? Each task tries a few drift rates:
//! it undoes the drift, transforms the whole recording and keeps the strongest bins.

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};
use serde::{Deserialize, Serialize};

/// Name of the input file with the recording: pairs of signed bytes (in phase, quadrature).
pub const RECORDING: &str = "recording.iq";

/// Longest recording in samples; the shortest is 16, and the count is a power of two.
pub const MAX_SAMPLES: usize = 1 << 20;

/// Drift rates one task may try; with [`MAX_SAMPLES`] this bounds a task's work.
pub const MAX_DRIFTS: u32 = 1_024;
/// The largest drift rate, in bins over the recording; phases stay exact in 64 bits up to it.
pub const MAX_DRIFT: u32 = 65_535;

/// A bin counts as a spike from this power on, in units of the mean power of all bins. Noise
/// alone passes it with probability e^−20 per bin, about once in 15,000 transforms of 2^15 bins.
const THRESHOLD: f64 = 20.0;

/// Spikes reported per task, the strongest first.
const MAX_SPIKES: usize = 16;

/// One task: the drift rates `first_drift .. first_drift + drifts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The first drift rate, in bins over the whole recording.
    pub first_drift: u32,
    /// How many consecutive rates to try.
    pub drifts: u32,
}

/// What a task found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Drift rates tried.
    pub transforms: u32,
    /// Bins at or above the threshold, strongest first.
    pub spikes: Vec<Spike>,
}

/// One strong bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spike {
    /// Frequency at the first sample, in bins (cycles per recording).
    pub bin: usize,
    /// Drift rate, in bins over the whole recording.
    pub drift: u32,
    /// Power over the mean power of all bins, rounded down: floats stay out of the output.
    pub power: u64,
}

/// Why a search cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The drift rates are none or too many.
    #[error(
        "{drifts} drift rates from {first_drift}: expected 1 to {MAX_DRIFTS} of them, none above {MAX_DRIFT}"
    )]
    Drifts {
        /// The first rate asked for.
        first_drift: u32,
        /// How many were asked for.
        drifts: u32,
    },
    /// The recording file cannot be read.
    #[error("{0}; {source}", source = std::error::Error::source(.0).map_or_else(String::new, ToString::to_string))]
    File(tallymill_guest::InputFileError),
    /// The recording has an impossible length.
    #[error("recording of {bytes} bytes: expected two per sample for 2^4 to 2^20 samples")]
    Length {
        /// Its length in bytes.
        bytes: usize,
    },
}

/// Searches the recording file of the job.
///
/// # Errors
/// [`SearchError`] when the task or the file is not what the job expects.
pub fn search_file(search: Search) -> Result<Found, SearchError> {
    let file = tallymill_guest::input_file(RECORDING).map_err(SearchError::File)?;
    find_spikes(search, &file)
}

/// Searches a recording for carriers with the given drift rates.
///
/// # Errors
/// [`SearchError`] when the range of rates or the recording's length is outside its limits.
pub fn find_spikes(search: Search, recording: &[u8]) -> Result<Found, SearchError> {
    let Search { first_drift, drifts } = search;
    let last = first_drift.checked_add(drifts).filter(|end| *end <= MAX_DRIFT + 1);
    let Some(end) = last.filter(|_| (1..=MAX_DRIFTS).contains(&drifts)) else {
        return Err(SearchError::Drifts { first_drift, drifts });
    };
    let samples = parse_recording(recording)?;
    // rustfft is built without its SIMD features, so native tests follow the guest's algorithm.
    let fft = FftPlanner::new().plan_fft_forward(samples.len());
    let mut spikes = Vec::new();
    for drift in first_drift..end {
        spikes.extend(spikes_at(drift, &samples, fft.as_ref()));
    }
    spikes.sort_by_key(|spike| (std::cmp::Reverse(spike.power), spike.drift, spike.bin));
    spikes.truncate(MAX_SPIKES);
    Ok(Found { transforms: drifts, spikes })
}

fn parse_recording(bytes: &[u8]) -> Result<Vec<Complex<f64>>, SearchError> {
    let count = bytes.len() / 2;
    let possible = count.is_power_of_two() && (16..=MAX_SAMPLES).contains(&count);
    if !possible || !bytes.len().is_multiple_of(2) {
        return Err(SearchError::Length { bytes: bytes.len() });
    }
    let component = |byte: u8| f64::from(byte.cast_signed());
    Ok(bytes.chunks_exact(2).map(|iq| Complex::new(component(iq[0]), component(iq[1]))).collect())
}

fn spikes_at(drift: u32, samples: &[Complex<f64>], fft: &dyn Fft<f64>) -> Vec<Spike> {
    let mut bins = dechirp(drift, samples);
    fft.process(&mut bins);
    let powers: Vec<f64> = bins.iter().map(Complex::norm_sqr).collect();
    let mean = powers.iter().sum::<f64>() / powers.len() as f64;
    let strong =
        powers.iter().enumerate().filter(|(_, power)| **power > 0.0 && **power >= THRESHOLD * mean);
    strong.map(|(bin, power)| Spike { bin, drift, power: whole(power / mean) }).collect()
}

/// Turns each sample back by the phase a carrier of this drift has gathered: ½·d·(n/N)² turns.
fn dechirp(drift: u32, samples: &[Complex<f64>]) -> Vec<Complex<f64>> {
    let count = samples.len() as u64;
    let denominator = 2 * count * count;
    let turned = (0..count).zip(samples).map(|(n, sample)| {
        // In integers, so that late samples lose no precision; below 2^56.
        let turns = (u64::from(drift) * n * n % denominator) as f64 / denominator as f64;
        sample * Complex::cis(-turns * std::f64::consts::TAU)
    });
    turned.collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a ratio of powers is between 0 and the number of bins"
)]
fn whole(ratio: f64) -> u64 {
    ratio as u64
}

#[cfg(test)]
mod tests;
