//! Snapshots: one blob and one root for each state, and the part that differs named.

use proptest::prelude::*;
use tallymill_protocol::snapshot::{
    Content, Counters, Facts, Files, Global, Handle, Handles, Node, Open, PAGE, Pages, Part,
    Snapshot, SnapshotError, TABLE_LEAF, decode, difference, max_len, root,
};
use tallymill_protocol::{Digest, Limits};

use crate::any::Source;

fn limits() -> Limits {
    Limits { memory: 1 << 20, scratch: 1 << 16, ..Limits::default() }
}

/// Five pages, the second and fourth of them zero.
fn memory() -> Vec<u8> {
    let mut memory = vec![0; 5 * PAGE];
    for page in [0, 2, 4] {
        memory[page * PAGE + 7] = 9;
        memory[page * PAGE + PAGE - 1] = 8;
    }
    memory
}

fn node(number: u32, linked: bool, content: Content) -> Node {
    Node { number, linked, content }
}

/// One of everything.
fn state(memory: &[u8]) -> Snapshot<'_> {
    let file = Open::File { node: 4, position: 3, readable: true, writable: false, flags: 1 };
    let names = vec![("a".to_owned(), 1), ("d".to_owned(), 3)];
    Snapshot {
        facts: Facts {
            metered: Digest::of(b"metered"),
            fuel: 5_000_000,
            memory_fuel: 77,
            summed: 4_000_000,
            steps: 12,
            peak_pages: 6,
        },
        pages: Pages::of(memory).unwrap(),
        globals: vec![
            Global::I32(1),
            Global::I64(u64::MAX),
            Global::F32(0x7fc0_0000),
            Global::F64(3),
            Global::V128(1 << 100 | 5),
            Global::Func(0),
        ],
        tables: vec![vec![0, 5, 2], vec![7; TABLE_LEAF + 1]],
        data: vec![true, false, true],
        elements: vec![false; 9],
        output: b"so far",
        log: b"noted",
        handles: Handles(vec![
            Handle { fd: 0, open: Open::Input { position: 4 } },
            Handle { fd: 1, open: Open::Output },
            Handle { fd: 2, open: Open::Log },
            Handle { fd: 3, open: Open::Directory { node: 0, preopened: true } },
            Handle { fd: 5, open: file },
        ]),
        files: Files {
            nodes: vec![
                node(0, true, Content::Directory(names)),
                node(1, true, Content::Input(0)),
                node(3, true, Content::Directory(Vec::new())),
                node(4, false, Content::File(b"text".to_vec())),
            ],
            free: vec![5, 2],
        },
        counters: Counters { ticks: 2, random: 32 },
    }
}

type Change = fn(&mut Snapshot<'_>);

fn file<'s>(state: &'s mut Snapshot<'_>) -> &'s mut Vec<u8> {
    match &mut state.files.nodes[3].content {
        Content::File(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn names<'s>(state: &'s mut Snapshot<'_>) -> &'s mut Vec<(String, u32)> {
    match &mut state.files.nodes[0].content {
        Content::Directory(names) => names,
        other => panic!("{other:?}"),
    }
}

fn flip_right(state: &mut Snapshot<'_>, flip: impl Fn(&mut bool, &mut bool)) {
    match &mut state.handles.0[4].open {
        Open::File { readable, writable, .. } => flip(readable, writable),
        other => panic!("{other:?}"),
    }
}

/// Every kind of state, changed as little as can be, with the part that differs then.
fn changes() -> Vec<(Part, Change)> {
    let entry = |table, entry| Part::Table { table, entry };
    vec![
        (Part::Head("metered module"), |s| s.facts.metered.0[31] ^= 1),
        (Part::Head("fuel"), |s| s.facts.fuel += 1),
        (Part::Head("memory × fuel"), |s| s.facts.memory_fuel += 1),
        (Part::Head("fuel up to which memory × fuel is summed"), |s| s.facts.summed += 1),
        (Part::Head("steps"), |s| s.facts.steps += 1),
        (Part::Head("highest size of memory"), |s| s.facts.peak_pages += 1),
        (Part::Head("number of globals"), |s| s.globals.push(Global::I32(0))),
        (Part::Head("size of a table"), |s| s.tables[0].push(0)),
        (Part::Head("size of a table"), |s| s.tables.push(Vec::new())),
        (Part::Head("number of data segments"), |s| s.data.push(false)),
        (Part::Head("number of element segments"), |s| s.elements.push(false)),
        (Part::Global(0), |s| s.globals[0] = Global::I32(0)),
        (Part::Global(0), |s| s.globals[0] = Global::F32(1)),
        (Part::Global(1), |s| s.globals[1] = Global::I64(u64::MAX - 1)),
        (Part::Global(2), |s| s.globals[2] = Global::F32(0x7fc0_0001)),
        (Part::Global(3), |s| s.globals[3] = Global::F64(3 | 1 << 63)),
        (Part::Global(4), |s| s.globals[4] = Global::V128(1 << 101 | 5)),
        (Part::Global(4), |s| s.globals[4] = Global::V128(5 << 64 | 1 << 36)),
        (Part::Global(5), |s| s.globals[5] = Global::Func(1)),
        (Part::Global(0), |s| s.globals.swap(0, 1)),
        (entry(0, 1), |s| s.tables[0][1] = 6),
        (entry(1, TABLE_LEAF), |s| s.tables[1][TABLE_LEAF] = 0),
        (Part::Data(1), |s| s.data[1] = true),
        (Part::Element(8), |s| s.elements[8] = true),
        (Part::Output(6), |s| s.output = b"so far!"),
        (Part::Output(0), |s| s.output = b"So far"),
        (Part::Log(4), |s| s.log = b"note"),
        (Part::Handle(0), |s| s.handles.0[0].open = Open::Input { position: 5 }),
        (Part::Handle(1), |s| s.handles.0[1].open = Open::Log),
        (Part::Handle(3), |s| s.handles.0[3].open = Open::Directory { node: 0, preopened: false }),
        (Part::Handle(3), |s| s.handles.0[3].open = Open::Directory { node: 3, preopened: true }),
        (Part::Handle(4), |s| s.handles.0[4].fd = 6),
        (Part::Handle(4), |s| flip_right(s, |readable, _| *readable = false)),
        (Part::Handle(4), |s| flip_right(s, |_, writable| *writable = true)),
        (Part::Handle(4), |s| {
            s.handles.0[4].open =
                Open::File { node: 4, position: 4, readable: true, writable: false, flags: 1 };
        }),
        (Part::Handle(4), |s| {
            s.handles.0[4].open =
                Open::File { node: 4, position: 3, readable: true, writable: false, flags: 0 };
        }),
        (Part::Handle(5), |s| s.handles.0.push(Handle { fd: 9, open: Open::Output })),
        (Part::Node(0), |s| names(s)[0].0 = "b".to_owned()),
        (Part::Node(0), |s| names(s)[0].1 = 4),
        (Part::Node(0), |s| drop(names(s).pop())),
        (Part::Node(1), |s| s.files.nodes[1].content = Content::Input(1)),
        (Part::Node(2), |s| s.files.nodes[2].linked = false),
        (Part::Node(3), |s| file(s)[3] = b'T'),
        (Part::Node(3), |s| file(s).push(0)),
        (Part::FreeNumbers, |s| s.files.free.swap(0, 1)),
        (Part::Counters, |s| s.counters.ticks += 1),
        (Part::Counters, |s| s.counters.random += 1),
    ]
}

#[test]
fn every_kind_of_state_is_under_the_root_in_the_blob_and_named_when_it_differs() {
    let memory = memory();
    let honest = state(&memory);
    assert_eq!(difference(&honest, &honest.clone()), None);
    for (at, (part, change)) in changes().into_iter().enumerate() {
        let mut other = honest.clone();
        change(&mut other);
        assert_ne!(other.root(), honest.root(), "change {at}: {part}");
        assert_ne!(other.encode(), honest.encode(), "change {at}: {part}");
        assert_eq!(difference(&honest, &other), Some(part.clone()), "change {at}");
        assert_eq!(difference(&other, &honest), Some(part.clone()), "change {at}, the other way");
        let blob = other.encode();
        let read = decode(&blob, &limits()).unwrap_or_else(|error| panic!("{part}: {error}"));
        assert_eq!((read.root(), read), (other.root(), other), "change {at}: {part}");
    }
}

#[test]
fn every_page_of_memory_is_under_the_root() {
    let honest = memory();
    for at in [0, 8, PAGE - 1, PAGE, 2 * PAGE + 7, 3 * PAGE + 5, 5 * PAGE - 1] {
        let mut changed = honest.clone();
        changed[at] ^= 1;
        let (a, b) = (state(&honest), state(&changed));
        assert_ne!(a.root(), b.root(), "byte {at}");
        assert_eq!(difference(&a, &b), Some(Part::Page(at / PAGE)), "byte {at}");
        assert_eq!(
            difference(&a, &b).unwrap().to_string(),
            format!("page {} of memory", at / PAGE)
        );
    }
    let grown = [honest.as_slice(), &[0; PAGE]].concat();
    let (a, b) = (state(&honest), state(&grown));
    assert_ne!(a.root(), b.root(), "a page of zeros is a page");
    assert_eq!(difference(&a, &b), Some(Part::Head("size of memory")));
}

#[test]
fn a_memory_is_whole_pages_and_zeros_take_no_bytes() {
    assert!(Pages::of(&[0; PAGE + 1]).is_none());
    let (zeros, memory) = (vec![0; 16 * PAGE], memory());
    let blob = |memory| state(memory).encode().len();
    assert_eq!(
        blob(&memory) - blob(&memory[..0]),
        3 * PAGE + 1,
        "three pages and a byte of bitmap"
    );
    assert!(blob(&zeros) < PAGE);
    assert_eq!(Pages::of(&zeros).unwrap().len(), 16);
    assert!(Pages::of(&[]).unwrap().is_empty());
}

/// A state drawn from a seed.
fn drawn(seed: u64, memory: &mut Vec<u8>) -> Snapshot<'_> {
    let mut s = Source(seed);
    memory.resize(s.below(4) * PAGE, 0);
    for _ in 0..s.below(5) {
        let length = memory.len();
        if let Some(byte) = memory.get_mut(s.below(length + 1)) {
            *byte = 1;
        }
    }
    let mut state = state(memory);
    // Each change at most once: together they still leave a sound state.
    changes().into_iter().filter(|_| s.below(8) == 0).for_each(|(_, change)| change(&mut state));
    state.facts.peak_pages = state.facts.peak_pages.max(4);
    state.tables[1].truncate(s.below(40));
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoding_undoes_encoding(seed in any::<u64>()) {
        let mut memory = Vec::new();
        let state = drawn(seed, &mut memory);
        let blob = state.encode();
        let read = decode(&blob, &limits()).unwrap();
        prop_assert_eq!(&read, &state);
        prop_assert_eq!(read.encode(), blob);
    }

    #[test]
    fn a_changed_byte_is_refused_or_another_state_with_that_encoding(seed in any::<u64>()) {
        let mut memory = Vec::new();
        let state = drawn(seed, &mut memory);
        let blob = state.encode();
        let mut s = Source(seed ^ 1);
        for round in 0..64 {
            let mut other = blob.clone();
            // Half of the changes hit the small parts at both ends, where the structure is.
            let small = s.below(400).min(blob.len() - 1);
            let at = match round % 4 { 0 => small, 1 => blob.len() - 1 - small, _ => s.below(blob.len()) };
            other[at] ^= 1 << s.below(8);
            if let Ok(read) = decode(&other, &limits()) {
                prop_assert!(read.encode() == other, "byte {} has two meanings", at);
                prop_assert_ne!(read.root(), state.root());
                prop_assert!(difference(&read, &state).is_some());
            }
        }
    }
}

#[test]
fn cut_or_longer_blobs_are_refused() {
    let memory = memory();
    let blob = state(&memory).encode();
    for length in [0, 3, 4, 50, blob.len() / 2, blob.len() - 1] {
        assert!(decode(&blob[..length], &limits()).is_err(), "{length}");
    }
    let longer = [blob.as_slice(), &[0]].concat();
    let is = |error: &SnapshotError| matches!(error, SnapshotError::Length { .. });
    assert!(decode(&longer, &limits()).is_err_and(|error| is(&error)));
}

/// The blob of a state whose parts somebody else wrote: `from` replaced by `to`, which are of one length.
fn forged(from: &[u8], to: &[u8]) -> Result<Digest, SnapshotError> {
    let memory = memory();
    let mut blob = state(&memory).encode();
    let at = blob.windows(from.len()).position(|window| window == from).expect("it is there");
    blob[at..at + from.len()].copy_from_slice(to);
    root(&blob, &limits())
}

#[test]
fn what_is_not_canonical_is_refused() {
    let says = |result: Result<Digest, SnapshotError>, part: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(part), "{error} lacks {part}");
    };
    // A key of the layout and its bitmap: 1 => h'15', pages 0, 2 and 4.
    says(forged(&[1, 0x41, 0b1_0101], &[1, 0x41, 0b101_0101]), "layout");
    says(forged(&[1, 0x41, 0b1_0101], &[1, 0x41, 0b101_0001]), "pages");
    // Dropped segments 0 and 2 of three, and a fourth bit.
    says(forged(&[0, 0x41, 0b101, 1, 0x42], &[0, 0x41, 0b1101, 1, 0x42]), "segments");
    // Free numbers 5 and 2; a node's number twice.
    says(forged(&[1, 0x82, 5, 2], &[1, 0x82, 5, 5]), "numbers from 0");
    says(forged(&[1, 0x82, 5, 2], &[1, 0x82, 7, 2]), "numbers from 0");
    // The name "d" before "a"; a name without a node.
    says(forged(&[0, 0x61, b'd'], &[0, 0x61, b'A']), "ascending");
    says(forged(&[0x61, b'a', 1, 1], &[0x61, b'a', 1, 2]), "numbers from 0");
    // Descriptors 1 and 2 swapped, and a kind of descriptor that there is not.
    says(forged(&[0x82, 1, 1, 0x82, 2, 2], &[0x82, 2, 2, 0x82, 1, 1]), "ascending");
    says(forged(&[0x82, 1, 1, 0x82, 2, 2], &[0x82, 1, 1, 0x82, 2, 9]), "unknown kind");
    // A global of a type that there is not.
    says(forged(&[0x82, 0, 1, 0x82, 1, 0x1b], &[0x82, 9, 1, 0x82, 1, 0x1b]), "unknown type");
    // The last byte of a page that is zero otherwise.
    let mut memory = vec![0; 2 * PAGE];
    memory[2 * PAGE - 1] = 0xa5;
    let mut blob = state(&memory).encode();
    let last = blob.windows(PAGE).position(|window| *window == memory[PAGE..]).unwrap() + PAGE - 1;
    blob[last] = 0;
    assert_eq!(root(&blob, &limits()), Err(SnapshotError::ZeroPage(1)));
}

#[test]
fn nothing_beyond_the_limits_of_the_job_is_read() {
    let memory = memory();
    let blob = state(&memory).encode();
    let length = blob.len() as u64;
    let limit = |change: fn(&mut Limits)| {
        let mut limits = limits();
        change(&mut limits);
        match decode(&blob, &limits).unwrap_err() {
            SnapshotError::Limit { what, .. } => what,
            other => panic!("{other}"),
        }
    };
    assert_eq!(limit(|it| it.fuel = 4_999_999), "fuel");
    assert_eq!(limit(|it| it.memory = 5 * PAGE as u64), "memory");
    assert_eq!(limit(|it| it.table = 3 + TABLE_LEAF as u64), "table entries");
    assert_eq!(limit(|it| it.output = 5), "output");
    assert_eq!(limit(|it| it.log = 4), "log");
    let small = Limits { memory: 0, table: 0, output: 0, log: 0, scratch: 0, ..limits() };
    assert_eq!(max_len(&small), 1 << 20);
    assert_eq!(max_len(&Limits { memory: u64::MAX, ..small }), u64::MAX);
    let long = vec![0; (1 << 20) + 1];
    let too_long = SnapshotError::Limit { what: "bytes", found: (1 << 20) + 1, limit: 1 << 20 };
    assert_eq!(decode(&long, &small), Err(too_long));
    assert!(length < max_len(&limits()));
    let mut ahead = state(&memory);
    ahead.facts.summed = ahead.facts.fuel + 1;
    let of = |state: &Snapshot<'_>| {
        decode(&state.encode(), &limits()).map(drop).unwrap_err().to_string()
    };
    assert!(of(&ahead).contains("summed fuel"));
    let mut low = state(&memory);
    low.facts.peak_pages = 4;
    assert!(of(&low).contains("pages: 5, at most 4"));
}

/// A fixed state for authors in other languages: `tests/golden/snapshot.hex` holds its blob and its root.
#[test]
fn the_golden_snapshot_still_reads_and_writes_the_same() {
    let mut memory = vec![0; 2 * PAGE];
    memory[PAGE..].fill(0xa5);
    let mut golden = state(&memory);
    golden.tables[1].truncate(2);
    let (blob, root) = (golden.encode(), golden.root());
    // The only page with bytes is 65,536 times a5; the file leaves it out.
    let at = blob.windows(PAGE).position(|window| window == &memory[PAGE..]).unwrap();
    let (before, after) = (&blob[..at], &blob[at + PAGE..]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = format!(
        "before {}\nafter {}\ndigest {}\nroot {root}\n",
        hex(before),
        hex(after),
        Digest::of(&blob)
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/snapshot.hex");
    if std::env::var_os("TALLYMILL_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    assert_eq!(decode(&blob, &limits()), Ok(golden));
}
