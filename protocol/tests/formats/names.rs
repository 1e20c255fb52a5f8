//! Ids as text, versions, leases and the small rules around them.

use tallymill_protocol::work::{Verdict, VoidCause};
use tallymill_protocol::{
    AttemptId, Digest, Inputs, Lease, Manifest, Message, OLDEST_PROTOCOL_VERSION, Outcome,
    PROTOCOL_VERSION, ParseIdError, Receipt, Segment, TableEntry, TaskIndex, speaks,
};

use crate::any::{Any, Source};

#[test]
fn ids_are_lower_case_hexadecimal() {
    let id = Digest::any(&mut Source(1));
    let text = id.to_string();
    assert_eq!(text.parse(), Ok(id));
    assert_eq!(id.short(), text[..8]);
    let short = "ab".parse::<AttemptId>();
    assert_eq!(short, Err(ParseIdError::Length { expected: 32, found: 2 }));
    let upper = "A".repeat(32).parse::<AttemptId>();
    assert_eq!(upper, Err(ParseIdError::Digit('A')));
    assert_eq!(("é".repeat(16)).parse::<AttemptId>(), Err(ParseIdError::Digit('\u{c3}')));
}

#[test]
fn this_version_and_the_one_before_are_spoken() {
    for version in 0..PROTOCOL_VERSION + 3 {
        let expected =
            version > 0 && (version == PROTOCOL_VERSION || version + 1 == PROTOCOL_VERSION);
        assert_eq!(speaks(version), expected, "version {version}");
    }
    assert!(!speaks(u32::MAX));
    assert!(speaks(OLDEST_PROTOCOL_VERSION));
}

#[test]
fn a_lease_covers_its_range() {
    let lease = Lease { first: TaskIndex(10), count: 3, ..Lease::any(&mut Source(1)) };
    let covered: Vec<_> = (0..20).filter(|task| lease.covers(TaskIndex(*task))).collect();
    assert_eq!(covered, [10, 11, 12]);
    let last = Lease { first: TaskIndex(u32::MAX), count: u32::MAX, ..lease.clone() };
    assert!(last.covers(TaskIndex(u32::MAX)) && !last.covers(TaskIndex(0)));
    assert_eq!(lease.digest(), Lease::digest_of(&lease.to_bytes()));
}

#[test]
fn a_job_is_named_by_its_payload() {
    let manifest = Manifest::any(&mut Source(1));
    assert_eq!(manifest.id(), Manifest::id_of(&manifest.to_bytes()));
    assert_eq!(manifest.id().0, Digest::of(&manifest.to_bytes()).0);
}

#[test]
fn results_agree_by_outcome_output_fuel_and_segment_alone() {
    let segment = Some(Segment::any(&mut Source(3)));
    let one = Receipt { outcome: Outcome::Paused, segment, ..Receipt::any(&mut Source(1)) };
    let Receipt { outcome, output, fuel, .. } = one;
    let other = Receipt { outcome, output, fuel, segment, ..Receipt::any(&mut Source(2)) };
    assert!(one.agrees_with(&other));
    assert!(!one.agrees_with(&Receipt { segment: None, ..other }));
    assert!(!one.agrees_with(&Receipt { outcome: Outcome::Exited(1), ..one.clone() }));
    assert!(!one.agrees_with(&Receipt { output: Digest::ZERO, ..one.clone() }));
    assert!(!one.agrees_with(&Receipt { fuel: one.fuel ^ 1, ..one.clone() }));
}

#[test]
fn range_inputs_are_numbers_and_never_overflow() {
    let inputs = Inputs::Range { from: u64::MAX - 1, count: 5 };
    assert_eq!(inputs.range_input(1).as_deref(), Some(&b"18446744073709551615\n"[..]));
    assert_eq!(inputs.range_input(2), None);
    let table = Inputs::Table { root: Digest::ZERO, count: 1, blob: Digest::ZERO };
    assert_eq!(table.range_input(0), None);
}

#[test]
fn a_table_entry_has_48_bytes() {
    let entry = TableEntry { offset: 0x0102, length: u64::MAX - 5, digest: Digest([9; 32]) };
    let bytes = entry.to_bytes();
    assert_eq!(bytes[..8], [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(TableEntry::from_bytes(&bytes), entry);
}

#[test]
fn codes_of_causes_and_verdicts_stay() {
    for (code, cause) in (0..).zip(VoidCause::ALL) {
        assert_eq!(cause as u8, code);
        assert_eq!(VoidCause::from_code(code), cause);
    }
    assert_eq!(VoidCause::from_code(200), VoidCause::Other);
    for code in 0..4 {
        assert_eq!(Verdict::from_code(code).map(|verdict| verdict as u8), Some(code));
    }
    assert_eq!(Verdict::from_code(4), None);
}
