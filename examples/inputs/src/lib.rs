//! Inputs of the example jobs: one line of JSON per task, and the named files the tasks read.
//!
//! The crate depends on nothing, so the demo and the tests link it instead of starting a
//! generator. Everything is computed with integers and the basic float operations only, which
//! round alike on every machine: the same bytes everywhere.

mod random;
mod recording;

use std::io;
use std::path::Path;

pub use random::draw;
pub use recording::{SAMPLES, SIGNAL_BIN, SIGNAL_DRIFT, recording};

/// Bases in one window of the query genome.
pub const WINDOW: usize = 500;

/// The first and last exponent of the `mersenne` job.
pub const EXPONENTS: std::ops::RangeInclusive<u32> = 2..=2300;

/// Drift rates one `seti` task tries.
pub const DRIFTS_PER_TASK: u32 = 8;

/// Drift rates of the whole `seti` job, from 0 upwards.
pub const DRIFTS: u32 = 128;

/// Each kernel with two sizes: of a quick test, and of a measurement (some 30 to 100 ms natively).
pub const KERNELS: [(&str, u32, u32); 17] = [
    ("nbody", 500, 700_000),
    ("matmul", 24, 320),
    ("dgemm", 24, 560),
    ("matmul_simd", 32, 640),
    ("blend_simd", 2, 6_000),
    ("fft", 1, 800),
    ("spectral", 40, 1_600),
    ("modpow", 60, 150_000),
    ("sieve", 20_000, 16_000_000),
    ("sha256", 4, 6_144),
    ("blake3", 5, 12_288),
    ("smith_waterman", 120, 2_500),
    ("quicksort", 2_000, 500_000),
    ("base64", 4, 6_144),
    ("lz", 8, 4_096),
    ("json", 10, 6_000),
    ("interpreter", 60, 10_000),
];

const HUMAN: &str = include_str!("../../align/data/mt-human.fa");
const ORANG: &str = include_str!("../../align/data/mt-orang.fa");

/// A job's inputs as files: what `write_all` puts below the folder of its name.
#[derive(Debug)]
pub struct Example {
    /// The example, also the stem of its guest module.
    pub name: &'static str,
    /// Standard input of each task, in the order of the task index.
    pub inputs: Vec<String>,
    /// Named read-only files every task sees: name and content.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

/// All examples with everything they read.
#[must_use]
pub fn all() -> Vec<Example> {
    vec![
        Example { name: "mersenne", inputs: mersenne(), files: Vec::new() },
        Example {
            name: "align",
            inputs: align(),
            files: vec![("mt-orang.fa", ORANG.as_bytes().to_vec())],
        },
        Example { name: "seti", inputs: seti(), files: vec![("recording.iq", recording())] },
        Example { name: "kernels", inputs: kernels(), files: Vec::new() },
    ]
}

/// Examples whose tasks are long and run in steps, with everything they read.
#[must_use]
pub fn long() -> Vec<Example> {
    vec![Example { name: "lehmer", inputs: lehmer(), files: Vec::new() }]
}

/// Exponents that are too large for one step: one that is decided at once, a composite number's and a prime's.
#[must_use]
pub fn lehmer() -> Vec<String> {
    [11_197, 9_967, 11_213].map(|exponent: u32| exponent.to_string()).into()
}

/// One exponent per task, as a decimal number.
#[must_use]
pub fn mersenne() -> Vec<String> {
    EXPONENTS.map(|exponent| exponent.to_string()).collect()
}

/// Windows of [`WINDOW`] bases over the human mitochondrial genome; the last may be shorter.
///
/// The file holds one base in lower case; a task's bases are all upper case.
#[must_use]
pub fn align() -> Vec<String> {
    let genome: String = HUMAN.lines().filter(|line| !line.starts_with('>')).collect();
    let genome = genome.to_ascii_uppercase();
    (0..genome.len())
        .step_by(WINDOW)
        .map(|start| {
            let window = &genome[start..genome.len().min(start + WINDOW)];
            format!("{{\"start\":{start},\"sequence\":\"{window}\"}}")
        })
        .collect()
}

/// Consecutive ranges of drift rates.
#[must_use]
pub fn seti() -> Vec<String> {
    (0..DRIFTS)
        .step_by(DRIFTS_PER_TASK as usize)
        .map(|from| format!("{{\"first_drift\":{from},\"drifts\":{DRIFTS_PER_TASK}}}"))
        .collect()
}

/// Each kernel once, at its size for tests.
#[must_use]
pub fn kernels() -> Vec<String> {
    KERNELS.iter().map(|(name, size, _)| kernel(name, *size)).collect()
}

/// Standard input that asks for one kernel.
#[must_use]
pub fn kernel(name: &str, size: u32) -> String {
    format!("[\"{name}\",{size}]")
}

/// Writes `DIR/NAME/inputs.jsonl` and `DIR/NAME/files/FILE` for every example.
///
/// # Errors
/// Whatever creating folders or writing files fails with.
pub fn write_all(dir: &Path) -> io::Result<()> {
    for example in all().into_iter().chain(long()) {
        let files = dir.join(example.name).join("files");
        std::fs::create_dir_all(&files)?;
        let lines = example.inputs.join("\n") + "\n";
        std::fs::write(dir.join(example.name).join("inputs.jsonl"), lines)?;
        for (name, content) in &example.files {
            std::fs::write(files.join(name), content)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_genome_without_gap_or_overlap() {
        let windows = align();
        assert_eq!(windows.len(), 34);
        let bases: usize = windows.iter().map(|w| w.split('"').nth(5).unwrap().len()).sum();
        let genome: usize = HUMAN.lines().skip(1).map(str::len).sum();
        assert_eq!(bases, genome);
        assert!(windows[33].contains("\"start\":16500"));
    }

    #[test]
    fn ranges_of_drift_rates_follow_each_other() {
        let tasks = seti();
        assert_eq!(tasks.len(), 16);
        assert_eq!(tasks[15], "{\"first_drift\":120,\"drifts\":8}");
    }

    #[test]
    fn exponents_are_decimal_lines() {
        let lines = mersenne();
        assert_eq!((lines.len(), lines[0].as_str(), lines[2298].as_str()), (2299, "2", "2300"));
    }

    #[test]
    fn every_example_is_written_with_its_files() {
        let dir = std::env::temp_dir().join(format!("example-inputs-{}", std::process::id()));
        write_all(&dir).unwrap();
        let lines = std::fs::read_to_string(dir.join("seti/inputs.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 16);
        assert_eq!(std::fs::read(dir.join("seti/files/recording.iq")).unwrap(), recording());
        assert_eq!(std::fs::read(dir.join("align/files/mt-orang.fa")).unwrap(), ORANG.as_bytes());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
