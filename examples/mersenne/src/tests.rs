//! Known Mersenne primes (OEIS A000043) and the digest of the whole run.
use super::*;

const PRIME_EXPONENTS: [u32; 17] =
    [2, 3, 5, 7, 13, 17, 19, 31, 61, 89, 107, 127, 521, 607, 1279, 2203, 2281];

#[test]
fn finds_exactly_the_known_exponents_and_the_expected_bytes() {
    let answers: Vec<Answer> = example_inputs::mersenne()
        .iter()
        .map(|line| decide(serde_json::from_str(line).unwrap()).unwrap())
        .collect();
    let found: Vec<u32> = answers.iter().filter(|a| a.prime).map(|a| a.exponent).collect();
    assert_eq!(found, PRIME_EXPONENTS);
    let outputs = answers.iter().map(|answer| serde_json::to_vec(answer).unwrap());
    example_digest::assert_expected(env!("CARGO_MANIFEST_DIR"), outputs);
}

#[test]
fn evidence_can_be_checked() {
    assert_eq!(decide(2).unwrap().evidence, Evidence::Three);
    assert_eq!(decide(15).unwrap().evidence, Evidence::DivisorOfExponent(3));
    assert_eq!(decide(11).unwrap().evidence, Evidence::Factor(23));
    assert_eq!(decide(13).unwrap().evidence, Evidence::Residue("0".repeat(16)));
}

#[test]
fn factors_found_by_trial_agree_with_the_full_test() {
    for p in (3..400).filter(|p| smallest_divisor(*p).is_none()) {
        let by_test = lucas_lehmer(p).0;
        assert_eq!(decide(p).unwrap().prime, by_test, "p = {p}");
    }
}

#[test]
fn exponents_out_of_range_are_refused() {
    for exponent in [0, 1, MAX_EXPONENT + 1] {
        assert_eq!(decide(exponent), Err(ExponentError { exponent }));
    }
}
