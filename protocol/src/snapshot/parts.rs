//! The parts of a snapshot.

use super::files::Files;
use super::handles::Handles;
use super::{MAX_PAGES, PAGE};
use crate::cbor::{Blob, DecodeError, Decoder, Encoder, Field, List, record};
use crate::id::Digest;

/// Most mutable globals.
pub const MAX_GLOBALS: usize = 32_768;
/// Most tables.
pub const MAX_TABLES: usize = 16;
/// Most data segments, and most element segments.
pub const MAX_SEGMENTS: usize = 100_000;

record! {
    /// The first leaf: what the run has come to, and how many leaves of each kind follow.
    pub struct Head("snapshot-head", 512) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The module as metered.
        1 => metered: Digest,
        /// Fuel used since the start of the task.
        2 => fuel: u64,
        /// Memory × fuel since the start of the task, as far as it is summed.
        3 => memory_fuel: u64,
        /// The fuel up to which it is summed.
        4 => summed: u64,
        /// Steps done.
        5 => steps: u64,
        /// Highest size of linear memory, pages.
        6 => peak_pages: u32,
        /// Size of linear memory, pages.
        7 => pages: u32,
        /// Mutable globals.
        8 => globals: u32,
        /// Entries of each table.
        9 => tables: List<u32, MAX_TABLES>,
        /// Data segments of the module.
        10 => data: u32,
        /// Element segments of the module.
        11 => elements: u32,
    }
}

/// What a run has come to, as far as it is not one of the guest's own values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The module as metered.
    pub metered: Digest,
    /// Fuel used since the start of the task.
    pub fuel: u64,
    /// Memory × fuel since the start of the task, as far as it is summed.
    pub memory_fuel: u64,
    /// The fuel up to which it is summed.
    pub summed: u64,
    /// Steps done.
    pub steps: u64,
    /// Highest size of linear memory, pages.
    pub peak_pages: u32,
}

/// Linear memory by pages; a page of zeros has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pages<'b>(pub(super) Vec<Option<&'b [u8; PAGE]>>);

impl<'b> Pages<'b> {
    /// The pages of a memory; `None` when its length is not a whole number of them, or above 4 GiB.
    #[must_use]
    pub fn of(memory: &'b [u8]) -> Option<Self> {
        let (pages, rest) = memory.as_chunks::<PAGE>();
        let whole = rest.is_empty() && pages.len() <= MAX_PAGES;
        whole.then(|| Self(pages.iter().map(|page| (!is_zero(page)).then_some(page)).collect()))
    }

    /// Number of pages.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no page.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pages in order; `None` for one of zeros.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&'b [u8; PAGE]>> {
        self.0.iter().copied()
    }
}

/// Whether a page holds nothing but zeros.
pub(super) fn is_zero(page: &[u8; PAGE]) -> bool {
    let (words, _) = page.as_chunks::<128>();
    words.iter().all(|word| *word == [0; 128])
}

/// A mutable global: its type and bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Global {
    /// A 32-bit integer.
    I32(u32),
    /// A 64-bit integer.
    I64(u64),
    /// A 32-bit float's bits.
    F32(u32),
    /// A 64-bit float's bits.
    F64(u64),
    /// A vector's bits.
    V128(u128),
    /// A reference to a function: its index + 1, or 0 for null.
    Func(u32),
}

impl Field for Global {
    /// One array of numbers: the type, and the bits, of a vector the lower half first.
    fn encode(&self, e: &mut Encoder) {
        let values = match self {
            Self::I32(bits) => vec![0, u64::from(*bits)],
            Self::I64(bits) => vec![1, *bits],
            Self::F32(bits) => vec![2, u64::from(*bits)],
            Self::F64(bits) => vec![3, *bits],
            Self::V128(bits) => {
                let [low, high] = halves(*bits);
                vec![4, low, high]
            }
            Self::Func(function) => vec![5, u64::from(*function)],
        };
        e.array(values.len());
        values.into_iter().for_each(|value| e.uint(value));
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let values = d.array(3, u64::decode)?;
        let small = |bits| u32::try_from(bits).ok();
        let global = match values[..] {
            [0, bits] => small(bits).map(Self::I32),
            [1, bits] => Some(Self::I64(bits)),
            [2, bits] => small(bits).map(Self::F32),
            [3, bits] => Some(Self::F64(bits)),
            [4, low, high] => Some(Self::V128(u128::from(low) | u128::from(high) << 64)),
            [5, function] => small(function).map(Self::Func),
            _ => None,
        };
        global.ok_or_else(|| d.invalid("global: unknown type, or more bits than it has"))
    }
}

/// The lower and the higher 64 bits.
fn halves(bits: u128) -> [u64; 2] {
    let (bytes, half) = (bits.to_le_bytes(), |bytes: &[u8]| {
        bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
    });
    [half(&bytes[..8]), half(&bytes[8..])]
}

/// Longest bitmap of segments, bytes.
const BITMAP: usize = MAX_SEGMENTS.div_ceil(8);

record! {
    /// Data and element segments that were dropped: one bit each, the lowest of the first byte first, unused bits zero.
    #[derive(Default)]
    pub struct Dropped("snapshot-dropped", 2 * BITMAP + 64) {
        /// Data segments.
        0 => data: Blob<BITMAP>,
        /// Element segments.
        1 => elements: Blob<BITMAP>,
    }
}

/// The bitmap of these flags.
fn bitmap(flags: &[bool]) -> Vec<u8> {
    let byte = |flags: &[bool]| {
        flags.iter().zip(0..).fold(0u8, |byte, (flag, at)| byte | u8::from(*flag) << at)
    };
    flags.chunks(8).map(byte).collect()
}

/// The flags of a bitmap for `count` things; `None` when it has another length or an unused bit set.
fn flags(bitmap: &[u8], count: usize) -> Option<Vec<bool>> {
    let flag = |at: usize| bitmap.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    let unused = (count..bitmap.len() * 8).any(flag);
    (bitmap.len() == count.div_ceil(8) && !unused).then(|| (0..count).map(flag).collect())
}

impl Dropped {
    /// Of these data and element segments, in the module's order.
    #[must_use]
    pub fn of(data: &[bool], elements: &[bool]) -> Self {
        Self { data: Blob(bitmap(data)), elements: Blob(bitmap(elements)) }
    }

    /// Which of `data` data segments and `elements` element segments; `None` when the bitmaps are not for these counts.
    #[must_use]
    pub fn flags(&self, data: usize, elements: usize) -> Option<(Vec<bool>, Vec<bool>)> {
        Some((flags(&self.data.0, data)?, flags(&self.elements.0, elements)?))
    }
}

/// Which pages are not zero, as a bitmap of the same kind.
pub(super) fn present(pages: &Pages<'_>) -> Vec<u8> {
    let flags: Vec<bool> = pages.iter().map(|page| page.is_some()).collect();
    bitmap(&flags)
}

/// The flags of [`present`].
pub(super) fn present_flags(bitmap: &[u8], pages: usize) -> Option<Vec<bool>> {
    flags(bitmap, pages)
}

record! {
    /// How far clocks and random numbers were read.
    #[derive(Copy, Default)]
    pub struct Counters("snapshot-counters", 32) {
        /// Readings of a clock.
        0 => ticks: u64,
        /// Bytes read from the random stream.
        1 => random: u64,
    }
}

/// The whole state of a task between two steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot<'b> {
    /// What the run has come to.
    pub facts: Facts,
    /// Linear memory.
    pub pages: Pages<'b>,
    /// Mutable globals of the guest, in the module's order.
    pub globals: Vec<Global>,
    /// Entries of the guest's tables: function index + 1, 0 for null.
    pub tables: Vec<Vec<u32>>,
    /// Data segments of the module, in its order, and whether each was dropped.
    pub data: Vec<bool>,
    /// The same of element segments.
    pub elements: Vec<bool>,
    /// Standard output so far.
    pub output: &'b [u8],
    /// Standard error so far.
    pub log: &'b [u8],
    /// Open descriptors.
    pub handles: Handles,
    /// Files and directories.
    pub files: Files,
    /// Clocks and random numbers.
    pub counters: Counters,
}

impl Snapshot<'_> {
    /// The first leaf.
    #[must_use]
    pub fn head(&self) -> Head {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let Facts { metered, fuel, memory_fuel, summed, steps, peak_pages } = self.facts;
        Head {
            format: 1,
            metered,
            fuel,
            memory_fuel,
            summed,
            steps,
            peak_pages,
            pages: count(self.pages.len()),
            globals: count(self.globals.len()),
            tables: List(self.tables.iter().map(|table| count(table.len())).collect()),
            data: count(self.data.len()),
            elements: count(self.elements.len()),
        }
    }
}
