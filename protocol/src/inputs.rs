//! Where the inputs of a job's tasks come from.

use crate::cbor::{DecodeError, Decoder, Encoder, Field};
use crate::id::Digest;

/// Where a task's standard input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inputs {
    /// Task `i` reads the decimal text of `from + i` and a line feed.
    Range {
        /// First number.
        from: u64,
        /// Number of tasks.
        count: u32,
    },
    /// Task `i` reads the input that entry `i` of a content-addressed table names.
    Table {
        /// Merkle root over the entries.
        root: Digest,
        /// Number of tasks.
        count: u32,
        /// The blob that holds entries and inputs.
        blob: Digest,
    },
}

impl Inputs {
    /// Number of tasks.
    #[must_use]
    pub const fn count(&self) -> u32 {
        match self {
            Self::Range { count, .. } | Self::Table { count, .. } => *count,
        }
    }

    /// The input of task `index` of a range job; `None` for a table job, or beyond 64 bits.
    ///
    /// ```
    /// let inputs = tallymill_protocol::Inputs::Range { from: 2, count: 10 };
    /// assert_eq!(inputs.range_input(3).as_deref(), Some(&b"5\n"[..]));
    /// ```
    #[must_use]
    pub fn range_input(&self, index: u32) -> Option<Vec<u8>> {
        match self {
            Self::Range { from, .. } => {
                let number = from.checked_add(u64::from(index))?;
                Some(format!("{number}\n").into_bytes())
            }
            Self::Table { .. } => None,
        }
    }
}

impl Field for Inputs {
    fn encode(&self, e: &mut Encoder) {
        match self {
            Self::Range { from, count } => {
                e.map(3);
                [(0, 0), (1, *from), (2, u64::from(*count))].into_iter().for_each(
                    |(key, value)| {
                        e.uint(key);
                        e.uint(value);
                    },
                );
            }
            Self::Table { root, count, blob } => {
                e.map(4);
                e.uint(0);
                e.uint(1);
                e.uint(1);
                root.encode(e);
                e.uint(2);
                count.encode(e);
                e.uint(3);
                blob.encode(e);
            }
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (mut kind, mut from, mut root, mut count, mut blob) = (None, None, None, None, None);
        d.map("inputs", |key, d| {
            match (key, kind) {
                (0, _) => kind = Some(d.uint()?),
                (1, Some(0)) => from = Some(d.uint()?),
                (1, Some(1)) => root = Some(Digest::decode(d)?),
                (2, _) => count = Some(u32::decode(d)?),
                (3, Some(1)) => blob = Some(Digest::decode(d)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        match (kind, from, root, count, blob) {
            (Some(0), Some(from), None, Some(count), None) => Ok(Self::Range { from, count }),
            (Some(1), None, Some(root), Some(count), Some(blob)) => {
                Ok(Self::Table { root, count, blob })
            }
            _ => Err(d.invalid("inputs: neither a range nor a table")),
        }
    }
}

/// One entry of an input table: 48 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TableEntry {
    /// Offset of the input from the start of the blob.
    pub offset: u64,
    /// Its length, bytes.
    pub length: u64,
    /// Its digest.
    pub digest: Digest,
}

impl TableEntry {
    /// Encoded size, bytes.
    pub const SIZE: usize = 48;

    /// The 48 bytes that stand in the table and under its Merkle root.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.offset.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_be_bytes());
        bytes[16..].copy_from_slice(self.digest.as_bytes());
        bytes
    }

    /// Reads an entry.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |from: usize| {
            bytes[from..from + 8].iter().fold(0, |acc, byte| acc << 8 | u64::from(*byte))
        };
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[16..]);
        Self { offset: word(0), length: word(8), digest: Digest(digest) }
    }
}
