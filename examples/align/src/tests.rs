//! Hand-checked alignments, bad input, and the digest of the whole run.
use super::*;

const ORANG: &[u8] = include_bytes!("../data/mt-orang.fa");

fn window(sequence: &str) -> Window {
    Window { start: 100, sequence: sequence.to_owned() }
}

#[test]
fn an_exact_copy_scores_two_per_base() {
    let hit = align(&window("CCGATTACAGG"), b"TTTTGATTACATTTT").unwrap();
    let expected = Hit {
        score: 14,
        query_start: 102,
        query_end: 109,
        target_start: 4,
        target_end: 11,
        matches: 7,
        columns: 7,
    };
    assert_eq!(hit, expected);
}

#[test]
fn a_mismatch_and_a_gap_cost_what_they_should() {
    // 24 equal columns − one mismatch: 2·24 − 3.
    let mismatch =
        align(&window("ACGTACGTTGCAATGCCGTAAGCTA"), b"ACGTACGTTGCAGTGCCGTAAGCTA").unwrap();
    assert_eq!((mismatch.score, mismatch.matches, mismatch.columns), (45, 24, 25));
    // One base missing in the reference: 2·24 − (5 + 2).
    let gap = align(&window("ACGTACGTTGCAATGCCGTAAGCTA"), b"ACGTACGTTGCATGCCGTAAGCTA").unwrap();
    assert_eq!((gap.score, gap.matches, gap.columns), (41, 24, 25));
}

#[test]
fn unrelated_sequences_score_nothing() {
    let hit = align(&window("AAAA"), b"CCCC").unwrap();
    assert_eq!((hit.score, hit.columns), (0, 0));
}

#[test]
fn windows_that_are_empty_too_long_or_not_bases_are_refused() {
    for bad in [String::new(), "A".repeat(MAX_WINDOW + 1), "acgt".into(), "AC-GT".into()] {
        let refused = align(&window(&bad), b"ACGT").unwrap_err();
        assert!(matches!(refused, AlignError::Window { length } if length == bad.len()));
    }
}

#[test]
fn references_that_are_not_one_fasta_sequence_are_refused() {
    let long = format!(">x\n{}\n", "A".repeat(MAX_REFERENCE + 1));
    for bad in ["", ">a\nAC\n>b\nGT\n", long.as_str()] {
        assert!(matches!(parse_reference(bad.as_bytes()), Err(AlignError::Reference { .. })));
    }
    assert!(matches!(parse_reference(b"ACGT\n"), Err(AlignError::Fasta(_))));
    let missing = align_with_file(&window("ACGT")).unwrap_err().to_string();
    assert!(missing.contains(REFERENCE), "{missing}");
}

#[test]
fn the_genomes_align_nearly_everywhere_with_the_expected_bytes() {
    let reference = parse_reference(ORANG).unwrap();
    let hits: Vec<Hit> = example_inputs::align()
        .iter()
        .map(|line| align(&serde_json::from_str(line).unwrap(), &reference).unwrap())
        .collect();
    let similar = hits.iter().filter(|hit| hit.matches * 10 >= hit.columns * 7).count();
    assert_eq!(similar, hits.len());
    let outputs = hits.iter().map(|hit| serde_json::to_vec(hit).unwrap());
    example_digest::assert_expected(env!("CARGO_MANIFEST_DIR"), outputs);
}
