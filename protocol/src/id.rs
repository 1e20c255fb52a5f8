//! Typed ids: digests, keys, times and indices, never bare strings or integers.

use std::fmt;
use std::str::FromStr;

use crate::cbor::{DecodeError, Decoder, Encoder, Field};

/// A text that should have been an id but is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Not the right number of hexadecimal digits.
    #[error("expected {expected} hexadecimal digits, found {found} characters")]
    Length {
        /// Digits an id of this type has.
        expected: usize,
        /// Characters found.
        found: usize,
    },
    /// A character that is not a lower-case hexadecimal digit.
    #[error("'{0}' is not a lower-case hexadecimal digit")]
    Digit(char),
}

fn hex_digit(byte: u8) -> Result<u8, ParseIdError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        other => Err(ParseIdError::Digit(char::from(other))),
    }
}

/// Reads exactly `N` bytes of lower-case hexadecimal.
fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    if text.len() != 2 * N {
        return Err(ParseIdError::Length { expected: 2 * N, found: text.chars().count() });
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Ok(bytes)
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl $name {
            /// The bytes of this id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }

            /// An id from a slice, when it has the right length.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The first eight hexadecimal digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text).map(Self)
            }
        }

        impl Field for $name {
            fn encode(&self, e: &mut Encoder) {
                e.bytes(&self.0);
            }

            fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                d.bytes_exact::<$size>().map(Self)
            }
        }
    };
}

byte_id!(
    /// BLAKE3 digest of some bytes; blobs are named by it.
    Digest, 32
);
byte_id!(
    /// An Ed25519 public key whose role the context tells.
    Key, 32
);
byte_id!(
    /// An account: the first public key its owner published.
    AccountId, 32
);
byte_id!(
    /// A volunteer machine, by its public key.
    HostId, 32
);
byte_id!(
    /// A coordinator, by its public key; also the issuer of credit.
    CoordinatorId, 32
);
byte_id!(
    /// A job: the digest of its signed manifest's payload.
    JobId, 32
);
byte_id!(
    /// The digest of a lease token's payload.
    LeaseDigest, 32
);
byte_id!(
    /// Sixteen bytes that make two otherwise equal messages differ.
    Nonce, 16
);
byte_id!(
    /// One grant of a lease to one host: a uuid of version 7.
    AttemptId, 16
);

macro_rules! key_roles {
    ($($name:ident),*) => {$(
        impl From<Key> for $name {
            fn from(key: Key) -> Self {
                Self(key.0)
            }
        }

        impl From<$name> for Key {
            fn from(id: $name) -> Self {
                Self(id.0)
            }
        }
    )*};
}
key_roles!(AccountId, HostId, CoordinatorId);

impl Digest {
    /// The digest of `bytes`.
    ///
    /// ```
    /// let empty = tallymill_protocol::Digest::of(b"");
    /// assert!(empty.to_string().starts_with("af1349b9"));
    /// ```
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Thirty-two zeros: stands for "none before this" in chains.
    pub const ZERO: Self = Self([0; 32]);
}

/// Position of a task within its job, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskIndex(pub u32);

impl fmt::Display for TaskIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Field for TaskIndex {
    fn encode(&self, e: &mut Encoder) {
        e.uint(u64::from(self.0));
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        u32::decode(d).map(Self)
    }
}

/// A moment: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// One second.
    pub const SECOND: u64 = 1_000_000;
    /// One day.
    pub const DAY: u64 = 86_400 * Self::SECOND;

    /// This moment moved forward by `micros`, saturating.
    #[must_use]
    pub const fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this moment; 0 when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Field for Micros {
    fn encode(&self, e: &mut Encoder) {
        e.uint(self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.uint().map(Self)
    }
}

/// The name of a network: the origin of its transparency log, 1 to 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(String);

impl Network {
    /// Longest name, bytes.
    pub const MAX: usize = 128;

    /// A network of this name; `None` when it is empty, too long or holds control characters.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits =
            !name.is_empty() && name.len() <= Self::MAX && !name.chars().any(char::is_control);
        fits.then(|| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Field for Network {
    fn encode(&self, e: &mut Encoder) {
        e.text(&self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let text = d.text(Self::MAX)?;
        Self::new(text)
            .ok_or_else(|| d.invalid("network: 1 to 128 bytes without control characters"))
    }
}
