//! The whole table of kernels.
use super::*;

#[test]
fn every_kernel_gives_the_expected_checksum() {
    let outputs = example_inputs::kernels().into_iter().map(|input| answer(&input).unwrap());
    example_digest::assert_expected(env!("CARGO_MANIFEST_DIR"), outputs.map(String::into_bytes));
}

#[test]
fn inputs_name_every_kernel_in_order() {
    let names = example_inputs::KERNELS.map(|(name, ..)| name);
    assert_eq!(names, KERNELS.map(|(name, _)| name));
}

#[test]
fn the_size_changes_the_answer() {
    for (name, kernel) in KERNELS {
        assert_ne!(kernel(1), kernel(40), "{name}");
        assert_eq!(kernel(40), kernel(40), "{name}");
    }
}

#[test]
fn inputs_of_another_kind_are_refused() {
    let error = |input: &str| answer(input).unwrap_err().to_string();
    assert_eq!(error("[\"nothing\",1]"), "there is no kernel \"nothing\"");
    assert_eq!(error("[\"sieve\",0]"), "size 0 is outside 1..=100000000");
    assert!(error("[\"sieve\",100000001]").contains("outside"));
    for input in ["", "sieve 1", "[\"sieve\"]", "[\"sieve\",-1]", "[\"sieve\",1] x"] {
        assert!(error(input).starts_with("failed to parse the input"), "{input}");
    }
}
