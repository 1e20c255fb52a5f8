//! Canonical CBOR: one encoding for every value, checked over the bytes as they came.
//!
//! The subset is RFC 8949 §4.2.1 without floats, tags, negative integers, `undefined` and indefinite lengths.
//! [`record!`](crate::cbor) describes a message once; encoding, decoding and the critical-key rule follow from it.

mod message;

pub(crate) use message::record;
pub use message::{Blob, Field, List, Message, Text};

/// Deepest nesting of arrays and maps.
pub const MAX_DEPTH: usize = 16;

/// Keys below this are critical: who does not know one refuses the message.
pub const CRITICAL_KEYS: u64 = 128;

/// Why some bytes are not the message they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message is longer than its type allows.
    #[error("{message} has {found} bytes; the limit is {limit}")]
    TooLong {
        /// Name of the message type.
        message: &'static str,
        /// Bytes received.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes end inside an item.
    #[error("the message ends inside an item at byte {at}")]
    Truncated {
        /// Offset where more was expected.
        at: usize,
    },
    /// There are bytes after the message.
    #[error("{count} bytes follow the message at byte {at}")]
    Trailing {
        /// Offset of the first extra byte.
        at: usize,
        /// How many there are.
        count: usize,
    },
    /// A longer form than necessary, an indefinite length, a float, a tag or another item outside the subset.
    #[error("not canonical at byte {at}: {what}")]
    NotCanonical {
        /// Offset of the item.
        at: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An item of another type than the field has.
    #[error("expected {expected} at byte {at}")]
    Type {
        /// Offset of the item.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// A value outside the range of its field.
    #[error("invalid value before byte {at}: {what}")]
    Invalid {
        /// Offset behind the value.
        at: usize,
        /// The rule it breaks.
        what: &'static str,
    },
    /// A critical key that this version does not know.
    #[error("{message} has the unknown critical field {key}; fields below 128 must be understood")]
    UnknownField {
        /// Name of the message type.
        message: &'static str,
        /// The key.
        key: u64,
    },
    /// A field that must be there is not.
    #[error("{message} lacks the field {field} (key {key})")]
    Missing {
        /// Name of the message type.
        message: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Its key.
        key: u64,
    },
}

/// Writes canonical items one after another.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// The bytes written so far.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        let be = value.to_be_bytes();
        let (info, tail): (u8, &[u8]) = match value {
            0..=23 => (be[7], &[]),
            24..=0xff => (24, &be[7..]),
            0x100..=0xffff => (25, &be[6..]),
            0x1_0000..=0xffff_ffff => (26, &be[4..]),
            _ => (27, &be[..]),
        };
        self.bytes.push(major | info);
        self.bytes.extend_from_slice(tail);
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) {
        self.head(0, value);
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) {
        self.head(2, value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// A text string.
    pub fn text(&mut self, value: &str) {
        self.head(3, value.len() as u64);
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// The head of an array of `count` items.
    pub fn array(&mut self, count: usize) {
        self.head(4, count as u64);
    }

    /// The head of a map of `count` pairs.
    pub fn map(&mut self, count: usize) {
        self.head(5, count as u64);
    }
}

/// Reads canonical items and refuses everything else.
#[derive(Debug)]
pub struct Decoder<'b> {
    bytes: &'b [u8],
    at: usize,
    depth: usize,
}

impl<'b> Decoder<'b> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// An [`DecodeError::Invalid`] for the value that ended here.
    #[must_use]
    pub const fn invalid(&self, what: &'static str) -> DecodeError {
        DecodeError::Invalid { at: self.at, what }
    }

    fn take(&mut self, count: u64) -> Result<&'b [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        let count = usize::try_from(count).ok().filter(|n| *n <= rest.len());
        let count = count.ok_or(DecodeError::Truncated { at: self.bytes.len() })?;
        self.at += count;
        Ok(&rest[..count])
    }

    fn argument(&mut self, info: u8) -> Result<u64, DecodeError> {
        let at = self.at.saturating_sub(1);
        let width = match info {
            0..=23 => return Ok(u64::from(info)),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => {
                return Err(DecodeError::NotCanonical {
                    at,
                    what: "indefinite or reserved length",
                });
            }
        };
        let value = self.take(width)?.iter().fold(0u64, |acc, byte| acc << 8 | u64::from(*byte));
        let least = [0, 24, 0x100, 0, 0x1_0000, 0, 0, 0, 0x1_0000_0000];
        if value < least[usize::from(u8::try_from(width).unwrap_or(0))] {
            return Err(DecodeError::NotCanonical { at, what: "longer form than necessary" });
        }
        Ok(value)
    }

    fn head(&mut self) -> Result<(u8, u64), DecodeError> {
        let at = self.at;
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        let what = match major {
            1 => "negative integer",
            6 => "tag",
            7 => "float, simple value or break",
            _ => return self.argument(info).map(|value| (major, value)),
        };
        Err(DecodeError::NotCanonical { at, what })
    }

    fn expect(&mut self, major: u8, expected: &'static str) -> Result<u64, DecodeError> {
        let at = self.at;
        match self.head()? {
            (found, value) if found == major => Ok(value),
            _ => Err(DecodeError::Type { at, expected }),
        }
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// When the next item is not one in its shortest form.
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        self.expect(0, "an unsigned integer")
    }

    /// A byte string of at most `limit` bytes.
    ///
    /// # Errors
    /// When the next item is not one, or longer.
    pub fn bytes(&mut self, limit: usize) -> Result<&'b [u8], DecodeError> {
        let length = self.expect(2, "a byte string")?;
        let bytes = self.take(length)?;
        if bytes.len() > limit { Err(self.invalid("byte string too long")) } else { Ok(bytes) }
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// When the next item is not one.
    pub fn bytes_exact<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.bytes(N)?;
        bytes.try_into().map_err(|_| self.invalid("byte string of another length"))
    }

    /// A text string of at most `limit` bytes of UTF-8.
    ///
    /// # Errors
    /// When the next item is not one, or longer.
    pub fn text(&mut self, limit: usize) -> Result<&'b str, DecodeError> {
        let length = self.expect(3, "a text string")?;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.invalid("text is not UTF-8"))?;
        if text.len() > limit { Err(self.invalid("text too long")) } else { Ok(text) }
    }

    fn enter(
        &mut self,
        major: u8,
        expected: &'static str,
        limit: usize,
    ) -> Result<usize, DecodeError> {
        let count = self.expect(major, expected)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.invalid("nested too deeply"));
        }
        usize::try_from(count)
            .ok()
            .filter(|n| *n <= limit)
            .ok_or_else(|| self.invalid("too many items"))
    }

    /// Reads an array of at most `limit` items, each by `item`.
    ///
    /// # Errors
    /// When the next item is not an array, is longer, or an item does not decode.
    pub fn array<T>(
        &mut self,
        limit: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.enter(4, "an array", limit)?;
        let mut items = Vec::with_capacity(count.min(self.bytes.len() - self.at));
        for _ in 0..count {
            items.push(item(self)?);
        }
        self.depth -= 1;
        Ok(items)
    }

    /// Reads a map with ascending unsigned keys; `field` reads the value of each key it knows and answers `false` for others.
    ///
    /// # Errors
    /// When keys are not ascending, a critical key is unknown, or a value does not decode.
    pub fn map(
        &mut self,
        message: &'static str,
        mut field: impl FnMut(u64, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.enter(5, "a map", 256)?;
        let mut previous = None;
        for _ in 0..count {
            let at = self.at;
            let key = self.uint()?;
            if previous.is_some_and(|before| before >= key) {
                return Err(DecodeError::NotCanonical {
                    at,
                    what: "map keys not ascending and unique",
                });
            }
            previous = Some(key);
            if !field(key, self)? {
                self.ignore(message, key)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn ignore(&mut self, message: &'static str, key: u64) -> Result<(), DecodeError> {
        if key < CRITICAL_KEYS {
            return Err(DecodeError::UnknownField { message, key });
        }
        self.skip()
    }

    /// Passes over one item of any type, which must be canonical all the same.
    fn skip(&mut self) -> Result<(), DecodeError> {
        let (major, value) = self.head()?;
        match major {
            2 => self.take(value).map(drop),
            3 => std::str::from_utf8(self.take(value)?)
                .map(drop)
                .map_err(|_| self.invalid("text is not UTF-8")),
            4 | 5 => self.skip_items(major, value),
            _ => Ok(()),
        }
    }

    fn skip_items(&mut self, major: u8, count: u64) -> Result<(), DecodeError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.invalid("nested too deeply"));
        }
        let mut previous: Option<&[u8]> = None;
        for _ in 0..count {
            if major == 5 {
                let from = self.at;
                self.skip()?;
                let key = &self.bytes[from..self.at];
                if previous.is_some_and(|before| before >= key) {
                    return Err(DecodeError::NotCanonical {
                        at: from,
                        what: "map keys not ascending and unique",
                    });
                }
                previous = Some(key);
            }
            self.skip()?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Checks that nothing follows.
    ///
    /// # Errors
    /// When bytes are left.
    pub const fn end(&self) -> Result<(), DecodeError> {
        let count = self.bytes.len() - self.at;
        if count == 0 { Ok(()) } else { Err(DecodeError::Trailing { at: self.at, count }) }
    }
}
