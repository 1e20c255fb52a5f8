//! The blob: a layout, then the parts one after another.

use super::files::Files;
use super::handles::Handles;
use super::parts::{
    Counters, Dropped, Facts, Global, Head, MAX_GLOBALS, MAX_SEGMENTS, Pages, Snapshot, is_zero,
    present, present_flags,
};
use super::{MAX_PAGES, PAGE};
use crate::cbor::{Blob, DecodeError, List, Message, record};
use crate::id::Digest;
use crate::job::Limits;

/// What a snapshot may be longer than the limits of its manifest: globals, descriptors, bitmaps and the names of files.
const SLACK: u64 = 1 << 20;
/// Longest layout, bytes.
const MAX_LAYOUT: usize = 16_384;

/// Mutable globals in order.
pub(super) type Globals = List<Global, MAX_GLOBALS>;

impl Message for Globals {
    const NAME: &'static str = "snapshot-globals";
    const MAX: usize = MAX_GLOBALS * 20;
}

record! {
    /// What stands in a blob, before the parts themselves.
    pub struct Layout("snapshot-layout", MAX_LAYOUT) {
        /// The first leaf.
        0 => head: Head,
        /// One bit a page, the lowest of the first byte first: whether its bytes follow. The others are zeros.
        1 => present: Blob<{ MAX_PAGES / 8 }>,
        /// Length of the globals, bytes.
        2 => globals: u64,
        /// Length of the dropped segments, bytes.
        3 => dropped: u64,
        /// Length of standard output, bytes.
        4 => output: u64,
        /// Length of standard error, bytes.
        5 => log: u64,
        /// Length of the descriptors, bytes.
        6 => handles: u64,
        /// Length of files and directories, bytes.
        7 => files: u64,
        /// Length of the counters, bytes.
        8 => counters: u64,
    }
}

/// Why some bytes are no snapshot of a job with these limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// More than the limits allow.
    #[error("snapshot: {what}: {found}, at most {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// How much may be.
        limit: u64,
    },
    /// It has another length than its layout says.
    #[error("snapshot: the layout speaks of {expected} bytes, there are {found}")]
    Length {
        /// By the layout.
        expected: u64,
        /// In all.
        found: u64,
    },
    /// A page that is listed as not zero is.
    #[error("snapshot: page {0} is zero and should have been left out")]
    ZeroPage(usize),
    /// Parts that do not fit the header.
    #[error("snapshot: {0}: not as many as the header says, or unused bits")]
    Count(&'static str),
    /// A part that does not decode.
    #[error("snapshot: {part}: {source}")]
    Part {
        /// Which.
        part: &'static str,
        /// What is wrong.
        source: DecodeError,
    },
}

/// The longest snapshot of a job with these limits, bytes.
#[must_use]
pub fn max_len(limits: &Limits) -> u64 {
    let Limits { memory, table, output, log, scratch, .. } = *limits;
    let parts = [memory, table.saturating_mul(4), output, log, scratch, SLACK];
    parts.into_iter().fold(0, u64::saturating_add)
}

/// The state root of a snapshot.
///
/// # Errors
/// As [`decode`].
pub fn root(blob: &[u8], limits: &Limits) -> Result<Digest, SnapshotError> {
    decode(blob, limits).map(|snapshot| snapshot.root())
}

impl Snapshot<'_> {
    /// The blob.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let small = self.small();
        let length = |bytes: &[u8]| bytes.len() as u64;
        let layout = Layout {
            head: self.head(),
            present: Blob(present(&self.pages)),
            globals: length(&small.globals),
            dropped: length(&small.dropped),
            output: length(self.output),
            log: length(self.log),
            handles: length(&small.handles),
            files: length(&small.files),
            counters: length(&small.counters),
        };
        let layout = layout.to_bytes();
        let prefix = u32::try_from(layout.len()).unwrap_or(u32::MAX).to_be_bytes();
        let pages = self.pages.iter().flatten().map(|page| page.as_slice());
        let tables: Vec<Vec<u8>> = self.tables.iter().map(|table| table_bytes(table)).collect();
        let first = [prefix.as_slice(), &layout];
        let last = [&small.dropped, self.output, self.log, &small.handles, &small.files];
        let parts = first.into_iter().chain(pages).chain([small.globals.as_slice()]);
        let parts = parts.chain(tables.iter().map(Vec::as_slice)).chain(last);
        parts.chain([small.counters.as_slice()]).collect::<Vec<_>>().concat()
    }

    /// The parts that are messages, encoded.
    pub(super) fn small(&self) -> Small {
        Small {
            globals: List::<Global, MAX_GLOBALS>(self.globals.clone()).to_bytes(),
            dropped: Dropped::of(&self.data, &self.elements).to_bytes(),
            handles: self.handles.to_bytes(),
            files: self.files.to_bytes(),
            counters: self.counters.to_bytes(),
        }
    }
}

/// Encoded parts.
pub(super) struct Small {
    pub(super) globals: Vec<u8>,
    pub(super) dropped: Vec<u8>,
    pub(super) handles: Vec<u8>,
    pub(super) files: Vec<u8>,
    pub(super) counters: Vec<u8>,
}

/// Entries of a table, four bytes each, the lowest first.
pub(super) fn table_bytes(entries: &[u32]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

/// Takes a blob apart; nothing is copied but the small parts.
struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// The next bytes; their number was checked against the length of the blob.
    fn take(&mut self, length: u64) -> &'b [u8] {
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn message<M: Message>(&mut self, length: u64) -> Result<M, SnapshotError> {
        let part = M::NAME;
        M::from_bytes(self.take(length)).map_err(|source| SnapshotError::Part { part, source })
    }

    fn pages(&mut self, present: &[bool]) -> Result<Pages<'b>, SnapshotError> {
        let mut pages = Vec::with_capacity(present.len());
        for (at, present) in present.iter().enumerate() {
            let page = if *present { self.take(PAGE as u64).first_chunk() } else { None };
            if page.is_some_and(is_zero) {
                return Err(SnapshotError::ZeroPage(at));
            }
            pages.push(page);
        }
        Ok(Pages(pages))
    }

    fn table(&mut self, entries: u32) -> Vec<u32> {
        let bytes = self.take(u64::from(entries) * 4);
        bytes.as_chunks().0.iter().map(|entry| u32::from_le_bytes(*entry)).collect()
    }
}

/// Reads a snapshot of a job with these limits.
///
/// # Errors
/// When it is not the one encoding of parts that the limits allow.
pub fn decode<'b>(blob: &'b [u8], limits: &Limits) -> Result<Snapshot<'b>, SnapshotError> {
    at_most("bytes", blob.len() as u64, max_len(limits))?;
    let mut reader = Reader { rest: blob };
    let layout = layout(&mut reader)?;
    within(&layout, limits)?;
    let head = layout.head;
    let present = present_flags(&layout.present.0, head.pages as usize);
    let present = present.ok_or(SnapshotError::Count("pages"))?;
    let pages = reader.pages(&present)?;
    let globals: Globals = reader.message(layout.globals)?;
    let tables = head.tables.0.iter().map(|entries| reader.table(*entries)).collect();
    let dropped: Dropped = reader.message(layout.dropped)?;
    let flags = dropped.flags(head.data as usize, head.elements as usize);
    let (data, elements) = flags.ok_or(SnapshotError::Count("segments"))?;
    if globals.0.len() != head.globals as usize {
        return Err(SnapshotError::Count("globals"));
    }
    let Head { metered, fuel, memory_fuel, summed, steps, peak_pages, .. } = head;
    Ok(Snapshot {
        facts: Facts { metered, fuel, memory_fuel, summed, steps, peak_pages },
        pages,
        globals: globals.0,
        tables,
        data,
        elements,
        output: reader.take(layout.output),
        log: reader.take(layout.log),
        handles: reader.message::<Handles>(layout.handles)?,
        files: reader.message::<Files>(layout.files)?,
        counters: reader.message::<Counters>(layout.counters)?,
    })
}

/// The layout, when the blob has exactly the bytes of which it speaks.
fn layout(reader: &mut Reader<'_>) -> Result<Layout, SnapshotError> {
    let prefix = reader.take(4).try_into().map_or(u32::MAX, u32::from_be_bytes);
    at_most("layout", u64::from(prefix), MAX_LAYOUT as u64)?;
    let layout: Layout = reader.message(u64::from(prefix))?;
    let listed: u32 = layout.present.0.iter().map(|byte| byte.count_ones()).sum();
    let entries = layout.head.tables.0.iter().map(|entries| u64::from(*entries) * 4);
    let lengths = [
        u64::from(listed) * PAGE as u64,
        layout.globals,
        layout.dropped,
        layout.output,
        layout.log,
        layout.handles,
        layout.files,
        layout.counters,
    ];
    let expected = lengths.into_iter().chain(entries).fold(0, u64::saturating_add);
    let found = reader.rest.len() as u64;
    if expected == found { Ok(layout) } else { Err(SnapshotError::Length { expected, found }) }
}

fn within(layout: &Layout, limits: &Limits) -> Result<(), SnapshotError> {
    let head = &layout.head;
    let entries = head.tables.0.iter().map(|entries| u64::from(*entries)).sum();
    let peak = u64::from(head.peak_pages.max(head.pages)) * PAGE as u64;
    let files = limits.scratch.saturating_add(SLACK);
    let rules = [
        ("fuel", head.fuel, limits.fuel),
        ("summed fuel", head.summed, head.fuel),
        ("memory", peak, limits.memory.min((MAX_PAGES * PAGE) as u64)),
        ("pages", u64::from(head.pages), u64::from(head.peak_pages)),
        ("table entries", entries, limits.table),
        ("globals", u64::from(head.globals), MAX_GLOBALS as u64),
        ("data segments", u64::from(head.data), MAX_SEGMENTS as u64),
        ("element segments", u64::from(head.elements), MAX_SEGMENTS as u64),
        ("output", layout.output, limits.output),
        ("log", layout.log, limits.log),
        ("files", layout.files, files),
    ];
    rules.into_iter().try_for_each(|(what, found, limit)| at_most(what, found, limit))
}

const fn at_most(what: &'static str, found: u64, limit: u64) -> Result<(), SnapshotError> {
    if found <= limit { Ok(()) } else { Err(SnapshotError::Limit { what, found, limit }) }
}
