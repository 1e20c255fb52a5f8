//! Numbers and ids as JSON strings.

use std::borrow::Cow;
use std::fmt::Display;

use serde::{Serialize, Serializer};
use tallymill_ledger::Amount;
use tallymill_protocol::Micros;
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

fn text(pattern: &str, description: &str) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.pattern(Some(pattern)).description(Some(description)).into()
}

/// An integer, written in decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal(i128);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl PartialSchema for Decimal {
    fn schema() -> RefOr<Schema> {
        text(
            "^-?[0-9]+$",
            "An integer in decimal; credit is in micro-credits, moments in µs since 1970.",
        )
    }
}

impl ToSchema for Decimal {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Decimal")
    }
}

impl From<u64> for Decimal {
    fn from(number: u64) -> Self {
        Self(number.into())
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self(number.into())
    }
}

impl From<i128> for Decimal {
    fn from(number: i128) -> Self {
        Self(number)
    }
}

impl From<Amount> for Decimal {
    fn from(amount: Amount) -> Self {
        amount.micros().into()
    }
}

impl From<Micros> for Decimal {
    fn from(moment: Micros) -> Self {
        moment.0.into()
    }
}

/// The 32 bytes of an id, a key or a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Id(String);

impl Id {
    /// An id as it displays itself.
    pub fn of(id: &impl Display) -> Self {
        Self(id.to_string())
    }
}

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        text("^[0-9a-f]{64}$", "32 bytes of an id, a key or a digest in hexadecimal.")
    }
}

impl ToSchema for Id {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Id")
    }
}

/// The place of an item in a list whose keys are numbers.
pub fn next() -> RefOr<Schema> {
    text("^[0-9]{1,18}$", "The place of an item in a list, in decimal.")
}

/// The place of a suspension in the list of them.
pub fn next_suspension() -> RefOr<Schema> {
    let pattern = "^(account|module|job|host):[0-9a-f]{64}$";
    text(pattern, "What is suspended, and its id.")
}

/// A number from 0 that fits into 32 bits.
pub fn number32() -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    number.maximum(Some(u32::MAX)).into()
}

/// Bytes as they are.
pub struct Bytes;

/// A message in canonical CBOR, as `docs/protocol/formats.md` has it.
pub struct Cbor;

fn binary(description: &str) -> RefOr<Schema> {
    let bytes = ObjectBuilder::new().schema_type(Type::String).description(Some(description));
    bytes.format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).into()
}

impl PartialSchema for Bytes {
    fn schema() -> RefOr<Schema> {
        binary("Bytes as they are.")
    }
}

impl ToSchema for Bytes {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Bytes")
    }
}

impl PartialSchema for Cbor {
    fn schema() -> RefOr<Schema> {
        binary("A message in canonical CBOR; docs/protocol/formats.md has its CDDL.")
    }
}

impl ToSchema for Cbor {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Cbor")
    }
}

/// Standard base64 with padding (RFC 4648 §4).
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0usize, |word, byte| word << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[word >> (18 - 6 * place) & 63];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_vectors_of_rfc_4648() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in vectors {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn numbers_that_json_readers_would_round_are_strings() {
        let json = |number: Decimal| serde_json::to_string(&number).unwrap();
        assert_eq!(json(u64::MAX.into()), "\"18446744073709551615\"");
        assert_eq!(json(Amount::new(-1).into()), "\"-1\"");
    }
}
