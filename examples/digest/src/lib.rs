//! The digest over all outputs of an example job, and its expected value.
//!
//! digest = BLAKE3 over, for each task in the order of its index, the output's length in bytes as
//! a 64-bit little-endian number followed by the output. Lengths keep boundaries unambiguous.

use std::path::Path;

/// The digest over `outputs`, in hexadecimal.
pub fn of_outputs(outputs: impl IntoIterator<Item = Vec<u8>>) -> (u64, String) {
    let mut hasher = blake3::Hasher::new();
    let mut tasks = 0;
    for output in outputs {
        hasher.update(&(output.len() as u64).to_le_bytes());
        hasher.update(&output);
        tasks += 1;
    }
    (tasks, hasher.finalize().to_hex().to_string())
}

/// Compares a run with `expected.json` in the example's folder.
///
/// # Panics
/// When the file is missing or the number of tasks or the digest differ: it is a test assertion.
#[expect(clippy::panic, clippy::expect_used, reason = "an assertion for tests, like assert_eq")]
pub fn assert_expected(example: &str, outputs: impl IntoIterator<Item = Vec<u8>>) {
    let path = Path::new(example).join("expected.json");
    let text = std::fs::read_to_string(&path).expect("every example has an expected.json");
    let expected: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let (tasks, digest) = of_outputs(outputs);
    if expected["tasks"] != tasks || expected["outputs_blake3"] != digest.as_str() {
        panic!("{}: this run has {tasks} tasks and digest {digest}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_between_outputs_count() {
        let joined = of_outputs([b"ab".to_vec(), Vec::new()]);
        let split = of_outputs([b"a".to_vec(), b"b".to_vec()]);
        assert_eq!((joined.0, split.0), (2, 2));
        assert_ne!(joined.1, split.1);
    }
}
