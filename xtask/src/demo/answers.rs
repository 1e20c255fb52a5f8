//! What the demo's jobs must find, read from their outputs.

use anyhow::{Context, ensure};
use serde_json::Value;
use tallymill_protocol::Digest;

/// Exponents up to 2300 for which 2^p − 1 is prime (OEIS A000043).
pub(super) const EXPONENTS: [u64; 17] =
    [2, 3, 5, 7, 13, 17, 19, 31, 61, 89, 107, 127, 521, 607, 1279, 2203, 2281];

/// The exponents that the outputs of `mersenne` call prime.
pub(super) fn exponents(outputs: &[Vec<u8>]) -> anyhow::Result<Vec<u64>> {
    let answers = outputs.iter().map(|output| {
        let answer: Value = serde_json::from_slice(output)?;
        let prime = answer.get("prime").and_then(Value::as_bool).context("no field 'prime'")?;
        let exponent = answer.get("exponent").and_then(Value::as_u64);
        Ok(prime.then_some(exponent.context("no field 'exponent'")?))
    });
    let answers: Vec<Option<u64>> = answers.collect::<anyhow::Result<_>>()?;
    Ok(answers.into_iter().flatten().collect())
}

/// The task with the highest score among the outputs of `align`, and its output.
pub(super) fn best(outputs: &[Vec<u8>]) -> anyhow::Result<(usize, Value)> {
    let mut best: Option<(i64, usize, Value)> = None;
    for (task, output) in outputs.iter().enumerate() {
        let hit: Value = serde_json::from_slice(output)?;
        let score = hit.get("score").and_then(Value::as_i64).context("no field 'score'")?;
        if best.as_ref().is_none_or(|(highest, ..)| score > *highest) {
            best = Some((score, task, hit));
        }
    }
    best.map(|(_, task, hit)| (task, hit)).context("no outputs")
}

/// The best alignment in words.
pub(super) fn describe(hit: &Value) -> String {
    let field = |name| hit.get(name).map_or_else(|| "?".to_owned(), Value::to_string);
    format!(
        "human {}..{} on orangutan {}..{}: score {}, {} of {} columns equal",
        field("query_start"),
        field("query_end"),
        field("target_start"),
        field("target_end"),
        field("score"),
        field("matches"),
        field("columns")
    )
}

/// Fails unless the outputs are those that `expected`, the example's expected.json, was recorded from.
pub(super) fn check(outputs: &[Vec<u8>], expected: &Value) -> anyhow::Result<()> {
    let tasks = expected.get("tasks").and_then(Value::as_u64).context("no field 'tasks'")?;
    ensure!(tasks == outputs.len() as u64, "{} outputs, expected {tasks}", outputs.len());
    let mut all = Vec::new();
    for output in outputs {
        all.extend_from_slice(&(output.len() as u64).to_le_bytes());
        all.extend_from_slice(output);
    }
    let found = Digest::of(&all).to_string();
    let digest = expected.get("outputs_blake3").and_then(Value::as_str).context("no digest")?;
    ensure!(found == digest, "the digest over all outputs is {found}, expected {digest}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn only_primes_are_listed_and_rubbish_is_an_error() {
        let good = outputs(&[
            r#"{"exponent":2,"prime":true,"evidence":"three"}"#,
            r#"{"exponent":4,"prime":false,"evidence":{"divisor_of_exponent":2}}"#,
        ]);
        assert_eq!(exponents(&good).unwrap(), [2]);
        assert!(exponents(&outputs(&["{}"])).is_err());
        assert!(exponents(&outputs(&[r#"{"prime":true}"#])).is_err());
    }

    #[test]
    fn the_first_of_the_highest_scores_is_the_best() {
        let (task, hit) =
            best(&outputs(&[r#"{"score":3}"#, r#"{"score":9,"matches":8}"#, r#"{"score":9}"#]))
                .unwrap();
        assert_eq!(task, 1);
        assert!(describe(&hit).contains("score 9, 8 of ? columns"));
        assert!(best(&[]).is_err());
    }

    #[test]
    fn the_native_answers_have_the_recorded_digest_and_others_do_not() {
        // One output "a": length 1 as eight bytes, little-endian, then the byte.
        let digest = Digest::of(b"\x01\0\0\0\0\0\0\0a").to_string();
        let expected = serde_json::json!({ "tasks": 1, "outputs_blake3": digest });
        check(&outputs(&["a"]), &expected).unwrap();
        assert!(check(&outputs(&["b"]), &expected).unwrap_err().to_string().contains("digest"));
        assert!(check(&[], &expected).unwrap_err().to_string().contains("0 outputs"));
    }
}
