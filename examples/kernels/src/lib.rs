//! Small computing kernels of many kinds: what metering costs and what operators weigh is measured
//! on them.
//!
//! Each is a function from a size to a checksum over all that it computed. Built natively and for
//! WebAssembly the same source gives the same checksum: only integers and float operations that
//! round alike everywhere are used, in one order.

mod align;
mod blake3;
mod blend;
mod fft;
mod json;
mod lz;
mod machine;
mod matrix;
mod numbers;
mod orbits;
mod random;
mod sha256;
mod sort;
mod text;

/// Computes something whose cost grows with the size, and gives a checksum of it.
pub type Kernel = fn(u32) -> u64;

/// All kernels by name, in the order of reports.
pub const KERNELS: [(&str, Kernel); 17] = [
    ("nbody", orbits::nbody),
    ("matmul", matrix::textbook),
    ("dgemm", matrix::blocked),
    ("matmul_simd", matrix::vectors),
    ("blend_simd", blend::blend),
    ("fft", fft::transforms),
    ("spectral", numbers::spectral_norm),
    ("modpow", numbers::primes_by_powers),
    ("sieve", numbers::sieve),
    ("sha256", sha256::hash),
    ("blake3", blake3::hash),
    ("smith_waterman", align::align),
    ("quicksort", sort::quicksort),
    ("base64", text::base64),
    ("lz", lz::compress),
    ("json", json::parse),
    ("interpreter", machine::interpret),
];

/// Largest size that is taken: beyond it arrays would not fit a guest's memory.
pub const MAX_SIZE: u32 = 100_000_000;

/// Why an input is refused.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It has another shape.
    #[error("failed to parse the input, expected [\"KERNEL\",SIZE]: {0}")]
    Shape(#[from] serde_json::Error),
    /// There is no such kernel.
    #[error("there is no kernel {0:?}")]
    Kernel(String),
    /// The size is not in range.
    #[error("size {0} is outside 1..={MAX_SIZE}")]
    Size(u32),
}

/// The kernel of this name.
#[must_use]
pub fn find(name: &str) -> Option<Kernel> {
    KERNELS.iter().find(|(known, _)| *known == name).map(|(_, kernel)| *kernel)
}

/// Runs what `input` asks for and gives the checksum as 16 hexadecimal digits.
///
/// # Errors
/// When the input is not `["KERNEL",SIZE]` or names what there is not.
///
/// ```
/// assert_eq!(kernels::answer("[\"sieve\",100]").unwrap().len(), 16);
/// assert!(kernels::answer("[\"sieve\",0]").is_err());
/// ```
pub fn answer(input: &str) -> Result<String, InputError> {
    let (name, size): (String, u32) = serde_json::from_str(input)?;
    let kernel = find(&name).ok_or(InputError::Kernel(name))?;
    if !(1..=MAX_SIZE).contains(&size) {
        return Err(InputError::Size(size));
    }
    Ok(format!("{:016x}", kernel(size)))
}

#[cfg(test)]
mod tests;
