//! Known exponents (OEIS A000043), however the work is divided.
use tallymill_guest::run_steps_with;

use super::*;

fn run(input: &str, budget: u64) -> Vec<u8> {
    let (mut output, mut log) = (Vec::new(), Vec::new());
    let ended = run_steps_with::<Test>(input.as_bytes(), &mut output, &mut log, budget);
    assert_eq!((ended.code(), log), (0, Vec::new()), "{input}");
    output
}

#[test]
fn the_answer_is_that_of_the_test_in_one_piece_for_every_budget() {
    for exponent in (2..200).chain([521, 523]) {
        let whole = serde_json::to_vec(&mersenne::decide(exponent).unwrap()).unwrap();
        for budget in [1, 1_000, u64::MAX] {
            assert_eq!(run(&exponent.to_string(), budget), whole, "{exponent}, {budget}");
        }
    }
}

#[test]
fn the_whole_job_gives_the_expected_bytes() {
    let outputs: Vec<_> =
        example_inputs::lehmer().iter().map(|input| run(input, 10_000_000)).collect();
    let last: Answer = serde_json::from_slice(outputs.last().unwrap()).unwrap();
    assert!(last.prime, "11213 is the exponent of a Mersenne prime");
    example_digest::assert_expected(env!("CARGO_MANIFEST_DIR"), outputs);
}
