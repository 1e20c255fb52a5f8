//! One encoding for one value: both ways, under every flipped bit, cut anywhere, and too long.

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use tallymill_protocol::DecodeError;

use crate::any::{AnyMessage, Check, Source, every_message, message};

/// Runs a property of messages of type `M` on `cases` of them.
fn holds<M: AnyMessage>(cases: u32, property: impl Fn(M) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&message::<M>(), property)
        .unwrap_or_else(|error| panic!("{}: {error}", M::NAME));
}

struct Identity;

impl Check for Identity {
    fn check<M: AnyMessage>(&self) {
        holds::<M>(256, |value| {
            let bytes = value.to_bytes();
            prop_assert!(bytes.len() <= M::MAX);
            let decoded = M::from_bytes(&bytes);
            prop_assert_eq!(decoded.as_ref(), Ok(&value));
            Ok(())
        });
    }
}

#[test]
fn decoding_undoes_encoding() {
    every_message(&Identity);
}

struct Flips;

impl Check for Flips {
    fn check<M: AnyMessage>(&self) {
        holds::<M>(8, |value| {
            let bytes = value.to_bytes();
            // Long messages are sampled: a prime step meets every bit position and every field.
            let step = if bytes.len() > 800 { 37 } else { 1 };
            for bit in (0..bytes.len() * 8).step_by(step) {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(other) = M::from_bytes(&flipped) {
                    prop_assert_ne!(&other, &value, "bit {} is ignored", bit);
                    let again = other.to_bytes();
                    // The key of an optional field may become one that is ignored: the field is gone then.
                    prop_assert!(again == flipped || again.len() < bytes.len(), "bit {}", bit);
                }
            }
            Ok(())
        });
    }
}

#[test]
fn a_flipped_bit_is_refused_or_another_value_with_that_encoding() {
    every_message(&Flips);
}

struct Cuts;

impl Check for Cuts {
    fn check<M: AnyMessage>(&self) {
        let bytes = M::any(&mut Source(7)).to_bytes();
        for length in 0..bytes.len() {
            let cut = M::from_bytes(&bytes[..length]);
            assert_eq!(
                cut,
                Err(DecodeError::Truncated { at: length }),
                "{} cut at {length}",
                M::NAME
            );
        }
        let longer = [&bytes[..], &[0, 0]].concat();
        let trailing = DecodeError::Trailing { at: bytes.len(), count: 2 };
        assert_eq!(
            M::from_bytes(&longer[..longer.len().min(M::MAX)]),
            Err(trailing),
            "{}",
            M::NAME
        );
    }
}

#[test]
fn a_message_cut_anywhere_or_with_more_behind_it_is_refused() {
    every_message(&Cuts);
}

struct TooLong;

impl Check for TooLong {
    fn check<M: AnyMessage>(&self) {
        let expected = DecodeError::TooLong { message: M::NAME, found: M::MAX + 1, limit: M::MAX };
        assert_eq!(M::from_bytes(&vec![0xff; M::MAX + 1]), Err(expected));
        assert_ne!(
            M::from_bytes(&vec![0xff; M::MAX])
                .map_err(|error| error.to_string().contains("limit is")),
            Err(true)
        );
    }
}

#[test]
fn a_message_that_is_too_long_is_refused_before_it_is_read() {
    every_message(&TooLong);
}

/// Inserts a pair behind the last one of an encoded map.
fn with_pair(bytes: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let (count, body) = match bytes[0] {
        0xb8 => (bytes[1], &bytes[2..]),
        head => (head & 31, &bytes[1..]),
    };
    let head = if count + 1 < 24 { vec![0xa0 | (count + 1)] } else { vec![0xb8, count + 1] };
    [&head, body, key, value].concat()
}

struct UnknownKeys;

impl Check for UnknownKeys {
    fn check<M: AnyMessage>(&self) {
        let value = M::any(&mut Source(11));
        let bytes = value.to_bytes();
        if bytes.len() + 8 > M::MAX {
            return;
        }
        let critical = DecodeError::UnknownField { message: M::NAME, key: 127 };
        assert_eq!(M::from_bytes(&with_pair(&bytes, &[0x18, 127], &[0])), Err(critical));
        for ignored in [&[0][..], &[0x43, 1, 2, 3], &[0x61, b'x'], &[0x82, 1, 2], &[0xa1, 0, 0x80]]
        {
            let extended = M::from_bytes(&with_pair(&bytes, &[0x18, 128], ignored));
            assert_eq!(extended.as_ref(), Ok(&value), "{}", M::NAME);
        }
        for broken in [
            &[0xf6][..],
            &[0x18, 1],
            &[0x61, 0xff],
            &[0xa2, 1, 0, 0, 0],
            &[0xa2, 0, 0, 0, 0],
            &[0x9f, 0xff],
        ] {
            assert!(
                M::from_bytes(&with_pair(&bytes, &[0x18, 128], broken)).is_err(),
                "{} {broken:x?}",
                M::NAME
            );
        }
    }
}

#[test]
fn unknown_keys_below_128_are_refused_and_others_ignored() {
    every_message(&UnknownKeys);
}

struct Noise;

impl Check for Noise {
    fn check<M: AnyMessage>(&self) {
        let config =
            ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
        let noise = prop::collection::vec(any::<u8>(), 0..200);
        let property = |bytes: Vec<u8>| {
            if let Ok(value) = M::from_bytes(&bytes) {
                prop_assert_eq!(M::from_bytes(&value.to_bytes()), Ok(value));
            }
            Ok(())
        };
        TestRunner::new(config).run(&noise, property).unwrap();
    }
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    every_message(&Noise);
}
