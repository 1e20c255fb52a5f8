//! Every form outside the canonical subset, with the error that names it.

use tallymill_protocol::cbor::{Blob, Decoder, Field, List, MAX_DEPTH, Text};
use tallymill_protocol::work::Progress;
use tallymill_protocol::{
    AttemptId, DecodeError, Digest, HostBinding, Inputs, Message, Network, Outcome, Policy, Report,
};

use crate::any::{Any, Source};

/// A heartbeat whose task count and fuel are these items.
fn progress(tasks: &[u8], fuel: &[u8]) -> Result<Progress, DecodeError> {
    Progress::from_bytes(&[&[0xa3, 0, 0x50], &[9; 16][..], &[1], tasks, &[2], fuel].concat())
}

fn not_canonical(at: usize, what: &'static str) -> DecodeError {
    DecodeError::NotCanonical { at, what }
}

#[test]
fn the_shortest_form_is_the_only_one() {
    let expected = Progress { attempt: AttemptId([9; 16]), tasks: 5, fuel: 1 << 32 };
    assert_eq!(progress(&[5], &[0x1b, 0, 0, 0, 1, 0, 0, 0, 0]), Ok(expected));
    let longer: [&[u8]; 4] = [
        &[0x18, 23],
        &[0x19, 0, 255],
        &[0x1a, 0, 0, 255, 255],
        &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
    ];
    for fuel in longer {
        assert_eq!(
            progress(&[5], fuel),
            Err(not_canonical(22, "longer form than necessary")),
            "{fuel:x?}"
        );
    }
    let least: [(&[u8], u64); 4] = [
        (&[0x18, 24], 24),
        (&[0x19, 1, 0], 256),
        (&[0x1a, 0, 1, 0, 0], 65_536),
        (&[0x1b, 0, 0, 0, 1, 0, 0, 0, 0], 1 << 32),
    ];
    for (bytes, fuel) in least {
        assert_eq!(progress(&[5], bytes).map(|progress| progress.fuel), Ok(fuel));
    }
}

#[test]
fn lengths_have_their_shortest_form_too() {
    let decode = |bytes: &[u8]| Blob::<64>::decode(&mut Decoder::new(bytes));
    assert_eq!(decode(&[0x58, 2, 1, 2]), Err(not_canonical(0, "longer form than necessary")));
    assert_eq!(
        List::<u8, 4>::decode(&mut Decoder::new(&[0x98, 1, 1])),
        Err(not_canonical(0, "longer form than necessary"))
    );
    assert_eq!(
        Text::<4>::decode(&mut Decoder::new(&[0x78, 1, b'x'])),
        Err(not_canonical(0, "longer form than necessary"))
    );
    let map = Progress::from_bytes(&[0xb8, 3, 0]);
    assert_eq!(map, Err(not_canonical(0, "longer form than necessary")));
}

#[test]
fn indefinite_and_reserved_lengths_are_refused() {
    for first in [0x5f, 0x7f, 0x9f, 0xbf, 0x1c, 0x1d, 0x1e, 0x1f] {
        let refused = progress(&[5], &[first, 0xff]);
        assert_eq!(refused, Err(not_canonical(22, "indefinite or reserved length")), "{first:x}");
    }
}

#[test]
fn types_outside_the_subset_are_refused_by_name() {
    let cases: [(&[u8], &str); 8] = [
        (&[0x20], "negative integer"),
        (&[0xc1, 0], "tag"),
        (&[0xf4], "float, simple value or break"),
        (&[0xf6], "float, simple value or break"),
        (&[0xf7], "float, simple value or break"),
        (&[0xf9, 0, 0], "float, simple value or break"),
        (&[0xfb, 0, 0, 0, 0, 0, 0, 0, 0], "float, simple value or break"),
        (&[0xff], "float, simple value or break"),
    ];
    for (item, what) in cases {
        assert_eq!(progress(&[5], item), Err(not_canonical(22, what)), "{item:x?}");
    }
}

#[test]
fn keys_ascend_and_occur_once() {
    let order = "map keys not ascending and unique";
    let attempt = [&[0x50][..], &[9; 16]].concat();
    let unsorted = [&[0xa3, 1, 5, 0][..], &attempt, &[2, 7]].concat();
    assert_eq!(Progress::from_bytes(&unsorted), Err(not_canonical(3, order)));
    let twice = [&[0xa3, 0][..], &attempt, &[1, 5, 1, 5]].concat();
    assert_eq!(Progress::from_bytes(&twice), Err(not_canonical(21, order)));
    let text = Progress::from_bytes(&[0xa1, 0x61, b'x', 0]);
    assert_eq!(text, Err(DecodeError::Type { at: 1, expected: "an unsigned integer" }));
}

#[test]
fn a_missing_field_is_named() {
    let bytes = [&[0xa2, 0, 0x50][..], &[9; 16], &[2, 7]].concat();
    let expected = DecodeError::Missing { message: "progress", field: "tasks", key: 1 };
    assert_eq!(Progress::from_bytes(&bytes), Err(expected));
}

#[test]
fn other_types_and_values_out_of_range_are_refused() {
    let expected = DecodeError::Type { at: 20, expected: "an unsigned integer" };
    assert_eq!(progress(&[0x41, 5], &[7]), Err(expected));
    let range = DecodeError::Invalid { at: 29, what: "integer out of range" };
    assert_eq!(progress(&[0x1b, 0, 0, 0, 1, 0, 0, 0, 0], &[7]), Err(range));
    assert_eq!(Progress::from_bytes(&[0x80]), Err(DecodeError::Type { at: 0, expected: "a map" }));
    let short = Digest::decode(&mut Decoder::new(&[&[0x58, 31][..], &[0; 31]].concat()));
    assert_eq!(short, Err(DecodeError::Invalid { at: 33, what: "byte string of another length" }));
}

#[test]
fn strings_and_lists_keep_their_limits() {
    let invalid = |at, what| DecodeError::Invalid { at, what };
    assert_eq!(Text::<2>::decode(&mut Decoder::new(b"\x62ab")), Ok(Text("ab".to_owned())));
    assert_eq!(Text::<2>::decode(&mut Decoder::new(b"\x63abc")), Err(invalid(4, "text too long")));
    assert_eq!(
        Text::<2>::decode(&mut Decoder::new(&[0x62, 0xc3, 0x28])),
        Err(invalid(3, "text is not UTF-8"))
    );
    assert_eq!(
        Blob::<2>::decode(&mut Decoder::new(&[0x43, 1, 2, 3])),
        Err(invalid(4, "byte string too long"))
    );
    assert_eq!(
        List::<u8, 2>::decode(&mut Decoder::new(&[0x83, 1, 2, 3])),
        Err(invalid(1, "too many items"))
    );
    let huge = List::<u8, { usize::MAX }>::decode(&mut Decoder::new(&[
        0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ]));
    assert_eq!(huge, Err(DecodeError::Truncated { at: 9 }), "a promised length reserves no memory");
}

#[test]
fn nesting_ends_at_its_limit() {
    let nested = |levels: usize, open: &[u8]| {
        let value = [open.repeat(levels), vec![0]].concat();
        let bytes = [&[0xa4, 0, 0x50][..], &[9; 16], &[1, 5, 2, 7, 0x18, 200], &value].concat();
        Progress::from_bytes(&bytes).map(|progress| progress.tasks)
    };
    for open in [&[0x81][..], &[0xa1, 0]] {
        assert_eq!(nested(MAX_DEPTH - 1, open), Ok(5));
        assert!(matches!(
            nested(MAX_DEPTH, open),
            Err(DecodeError::Invalid { what: "nested too deeply", .. })
        ));
        assert!(nested(200, open).is_err());
    }
}

#[test]
fn a_message_of_another_format_is_refused() {
    let binding = HostBinding { format: 2, ..HostBinding::any(&mut Source(1)) };
    let refused = HostBinding::from_bytes(&binding.to_bytes());
    assert_eq!(refused, Err(DecodeError::Invalid { at: 3, what: "format must be 1" }));
    let report = Report { format: 0, ..Report::any(&mut Source(1)) };
    assert_eq!(
        Report::from_bytes(&report.to_bytes()),
        Err(DecodeError::Invalid { at: 3, what: "format must be 1" })
    );
}

#[test]
fn a_network_has_a_name_without_control_characters() {
    assert!(Network::new("").is_none());
    assert!(Network::new("a\nb").is_none());
    assert!(Network::new(&"n".repeat(129)).is_none());
    assert!(Network::new(&"n".repeat(128)).is_some());
    let empty = Network::decode(&mut Decoder::new(&[0x60]));
    assert!(matches!(empty, Err(DecodeError::Invalid { at: 1, .. })));
}

#[test]
fn variants_take_exactly_their_own_fields() {
    let inputs = |bytes: &[u8]| Inputs::decode(&mut Decoder::new(bytes));
    assert_eq!(inputs(&[0xa3, 0, 0, 1, 2, 2, 3]), Ok(Inputs::Range { from: 2, count: 3 }));
    for bad in [
        &[0xa2, 0, 0, 2, 3][..],
        &[0xa3, 0, 2, 1, 2, 2, 3],
        &[0xa4, 0, 0, 1, 2, 2, 3, 3, 0],
        &[0xa2, 1, 2, 2, 3],
    ] {
        assert!(inputs(bad).is_err(), "{bad:x?}");
    }
    let policy = |bytes: &[u8]| Policy::decode(&mut Decoder::new(bytes));
    assert_eq!(policy(&[0xa2, 0, 1, 1, 7]), Ok(Policy::Quorum { n: 7 }));
    let wrong: [&[u8]; 7] = [
        &[0xa2, 0, 1, 1, 1],
        &[0xa2, 0, 1, 1, 8],
        &[0xa1, 0, 1],
        &[0xa2, 0, 0, 1, 2],
        &[0xa2, 0, 2, 1, 2],
        &[0xa3, 0, 3, 1, 2, 2, 2],
        &[0xa1, 0, 4],
    ];
    for bad in wrong {
        assert!(policy(bad).is_err(), "{bad:x?}");
    }
}

#[test]
fn outcomes_are_those_of_the_table() {
    let outcome = |bytes: &[u8]| Outcome::decode(&mut Decoder::new(bytes));
    let mut known = 0;
    for kind in 0..=255 {
        for code in 0..=255 {
            if let Some(found) = Outcome::from_parts(kind, code) {
                assert_eq!(found.parts(), (kind, code));
                known += 1;
            }
        }
    }
    assert_eq!(known, 256 + 10 + 6);
    for bad in
        [&[0x82, 1, 10][..], &[0x82, 2, 1], &[0x82, 8, 0], &[0x81, 0], &[0x80], &[0x83, 0, 0, 0]]
    {
        assert!(outcome(bad).is_err(), "{bad:x?}");
    }
}
