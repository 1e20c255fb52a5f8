//! The leaves under a state root, and the first part in which two snapshots differ.

use super::blob::table_bytes;
use super::parts::{Global, Head, Snapshot};
use super::{PAGE, TABLE_LEAF};
use crate::cbor::Message as _;
use crate::id::Digest;
use crate::merkle;

/// A part of a snapshot: what one leaf covers, or what within it differs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// A field of the header.
    Head(&'static str),
    /// A page of linear memory.
    Page(usize),
    /// A mutable global, in the module's order.
    Global(usize),
    /// An entry of a table.
    Table {
        /// Which table.
        table: usize,
        /// Which entry.
        entry: usize,
    },
    /// A data segment: whether it was dropped.
    Data(usize),
    /// An element segment: whether it was dropped.
    Element(usize),
    /// Standard output, from this byte on.
    Output(usize),
    /// Standard error, from this byte on.
    Log(usize),
    /// The open descriptor at this position in their order.
    Handle(usize),
    /// The file or directory at this position in their order.
    Node(usize),
    /// The order in which free file numbers are used.
    FreeNumbers,
    /// Clock readings or random bytes.
    Counters,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head(field) => write!(f, "{field}"),
            Self::Page(at) => write!(f, "page {at} of memory"),
            Self::Global(at) => write!(f, "global {at}"),
            Self::Table { table, entry } => write!(f, "entry {entry} of table {table}"),
            Self::Data(at) => write!(f, "data segment {at}"),
            Self::Element(at) => write!(f, "element segment {at}"),
            Self::Output(at) => write!(f, "standard output at byte {at}"),
            Self::Log(at) => write!(f, "standard error at byte {at}"),
            Self::Handle(at) => write!(f, "open descriptor {at}"),
            Self::Node(at) => write!(f, "file {at}"),
            Self::FreeNumbers => write!(f, "free file numbers"),
            Self::Counters => write!(f, "clock readings or random bytes"),
        }
    }
}

impl Snapshot<'_> {
    /// The digests of the leaves: header, pages, globals, table entries, dropped segments, output, log, descriptors, files,
    /// counters.
    #[must_use]
    pub fn leaves(&self) -> Vec<Digest> {
        let small = self.small();
        let zero = merkle::leaf(&[0; PAGE]);
        let page = |page: Option<&[u8; PAGE]>| page.map_or(zero, |bytes| merkle::leaf(bytes));
        let mut leaves = vec![merkle::leaf(&self.head().to_bytes())];
        leaves.extend(self.pages.iter().map(page));
        leaves.push(merkle::leaf(&small.globals));
        let chunks = self.tables.iter().flat_map(|table| table.chunks(TABLE_LEAF));
        leaves.extend(chunks.map(|entries| merkle::leaf(&table_bytes(entries))));
        let rest =
            [&small.dropped, self.output, self.log, &small.handles, &small.files, &small.counters];
        leaves.extend(rest.into_iter().map(merkle::leaf));
        leaves
    }

    /// The state root.
    #[must_use]
    pub fn root(&self) -> Digest {
        merkle::root(&self.leaves())
    }
}

/// The first position at which two sequences differ; one that ends before the other differs at its end.
fn first<T: PartialEq>(a: &[T], b: &[T]) -> Option<usize> {
    let common = a.iter().zip(b).position(|(a, b)| a != b);
    common.or_else(|| (a.len() != b.len()).then(|| a.len().min(b.len())))
}

/// The first part in which two snapshots differ, in the order of their leaves; `None` when they are equal.
#[must_use]
pub fn difference(a: &Snapshot<'_>, b: &Snapshot<'_>) -> Option<Part> {
    let table = || {
        let tables = a.tables.iter().zip(&b.tables).enumerate();
        let found = |(table, (a, b)): (usize, (&Vec<u32>, &Vec<u32>))| {
            first(a, b).map(|entry| Part::Table { table, entry })
        };
        tables.into_iter().find_map(found)
    };
    in_head(&a.head(), &b.head())
        .or_else(|| first(&a.pages.0, &b.pages.0).map(Part::Page))
        .or_else(|| first::<Global>(&a.globals, &b.globals).map(Part::Global))
        .or_else(table)
        .or_else(|| first(&a.data, &b.data).map(Part::Data))
        .or_else(|| first(&a.elements, &b.elements).map(Part::Element))
        .or_else(|| first(a.output, b.output).map(Part::Output))
        .or_else(|| first(a.log, b.log).map(Part::Log))
        .or_else(|| first(&a.handles.0, &b.handles.0).map(Part::Handle))
        .or_else(|| first(&a.files.nodes, &b.files.nodes).map(Part::Node))
        .or_else(|| (a.files.free != b.files.free).then_some(Part::FreeNumbers))
        .or_else(|| (a.counters != b.counters).then_some(Part::Counters))
}

fn in_head(a: &Head, b: &Head) -> Option<Part> {
    let fields = [
        ("metered module", a.metered != b.metered),
        ("fuel", a.fuel != b.fuel),
        ("memory × fuel", a.memory_fuel != b.memory_fuel),
        ("fuel up to which memory × fuel is summed", a.summed != b.summed),
        ("steps", a.steps != b.steps),
        ("highest size of memory", a.peak_pages != b.peak_pages),
        ("size of memory", a.pages != b.pages),
        ("number of globals", a.globals != b.globals),
        ("size of a table", a.tables != b.tables),
        ("number of data segments", a.data != b.data),
        ("number of element segments", a.elements != b.elements),
    ];
    fields.into_iter().find(|(_, differs)| *differs).map(|(field, _)| Part::Head(field))
}
