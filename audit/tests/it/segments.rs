//! Segments: an honest receipt holds, every false figure is named, and so is a snapshot that is not the one before.

use std::cell::Cell;

use tallymill_audit::{Part, PartResult, RunSegment, Task, VerifyError, verify_segment};
use tallymill_protocol::snapshot::{Counters, Facts, Files, Handles, PAGE, Pages, Snapshot};
use tallymill_protocol::{Digest, Outcome, Receipt, Segment, Steps, TaskIndex};

use crate::world::World;

/// A machine that comes to the same whatever it runs, and notes where it was told to stop.
struct Machine(PartResult, Cell<Option<u64>>);

impl RunSegment for Machine {
    fn run_segment(&self, _: &Part<'_>, stop: Option<u64>) -> Result<PartResult, VerifyError> {
        self.1.set(stop);
        Ok(self.0.clone())
    }
}

fn honest() -> PartResult {
    PartResult {
        metered: Digest::of(b"metered"),
        outcome: Outcome::Paused,
        output: b"a snapshot".to_vec(),
        log: b"log".to_vec(),
        after: Digest::of(b"after"),
        fuel: 5_000_000,
        memory_fuel: 10_000_000,
        peak_memory: 131_072,
    }
}

/// The state after the first segment, 4,200,000 fuel into the task.
fn before(memory: &[u8]) -> Snapshot<'_> {
    let (metered, fuel) = (Digest::of(b"metered"), 4_200_000);
    Snapshot {
        facts: Facts { metered, fuel, memory_fuel: fuel, summed: fuel, steps: 9, peak_pages: 2 },
        pages: Pages::of(memory).unwrap(),
        globals: Vec::new(),
        tables: Vec::new(),
        data: Vec::new(),
        elements: Vec::new(),
        output: b"",
        log: b"",
        handles: Handles::default(),
        files: Files::default(),
        counters: Counters::default(),
    }
}

/// What a host that ran `found` says of the segment after this snapshot, or of the first one.
fn told(task: &Task<'_>, from: Option<&[u8]>, found: &PartResult) -> Receipt {
    let world = World::range();
    let (index, root, fuel_before) = match from {
        Some(_) => (1, before(&[7; 2 * PAGE]).root(), 4_200_000),
        None => (0, Digest::ZERO, 0),
    };
    let fuel_after = fuel_before + found.fuel;
    let segment = Segment { index, before: root, after: found.after, fuel_before, fuel_after };
    Receipt {
        module: Digest::of(task.module),
        input: Digest::of(&task.input),
        bytes_in: (task.input.len() + from.map_or(0, <[u8]>::len)) as u64,
        metered: found.metered,
        outcome: found.outcome,
        output: Digest::of(&found.output),
        bytes_out: found.output.len() as u64,
        log: Digest::of(&found.log),
        fuel: found.fuel,
        memory_fuel: found.memory_fuel,
        peak_memory: found.peak_memory,
        segment: Some(segment),
        ..world.receipts[1].clone()
    }
}

/// What is said of the receipt after this change; of the second segment, or of the first.
fn verdict(first: bool, change: impl Fn(&mut Receipt)) -> Result<(), VerifyError> {
    let (world, memory) = (World::range(), [7; 2 * PAGE]);
    let (task, blob) = (world.task(1), before(&memory).encode());
    let from = (!first).then_some(blob.as_slice());
    let mut receipt = told(&task, from, &honest());
    change(&mut receipt);
    let steps = Steps { budget: 1, segment: 4_194_304 };
    let part = Part { task: &task, index: TaskIndex(1), steps, from };
    verify_segment(&receipt, &part, &Machine(honest(), Cell::new(None)))
}

fn named(first: bool, change: impl Fn(&mut Receipt)) -> &'static str {
    match verdict(first, change) {
        Err(VerifyError::Mismatch(mismatch)) => mismatch.what,
        other => panic!("{other:?}"),
    }
}

fn segment(receipt: &mut Receipt) -> &mut Segment {
    receipt.segment.as_mut().unwrap()
}

#[test]
fn honest_segments_hold_from_the_start_and_from_a_snapshot() {
    verdict(true, |_| {}).unwrap();
    verdict(false, |_| {}).unwrap();
}

#[test]
fn every_false_figure_of_a_segment_is_named() {
    type Falsify = fn(&mut Receipt);
    let cases: [(Falsify, &str); 15] = [
        (|r| r.module = Digest::ZERO, "module"),
        (|r| r.input = Digest::ZERO, "input"),
        (|r| r.bytes_in += 1, "bytes in"),
        (|r| r.metered = Digest::ZERO, "metered module"),
        (|r| r.outcome = Outcome::Exited(0), "outcome"),
        (|r| r.output = Digest::ZERO, "output"),
        (|r| r.bytes_out += 1, "bytes out"),
        (|r| r.log = Digest::ZERO, "log"),
        (|r| r.peak_memory += 1, "peak memory"),
        (|r| r.memory_fuel += 1, "memory × fuel"),
        (|r| segment(r).after = Digest::ZERO, "state root after"),
        (|r| segment(r).before = Digest::ZERO, "state root before"),
        (|r| segment(r).fuel_before += 1, "fuel before"),
        (|r| segment(r).fuel_after += 1, "fuel after"),
        (
            |r| {
                r.fuel += 1;
                segment(r).fuel_after += 1;
            },
            "fuel",
        ),
    ];
    for (falsify, what) in cases {
        assert_eq!(named(false, falsify), what);
    }
}

#[test]
fn the_first_segment_begins_with_nothing() {
    assert_eq!(named(true, |r| segment(r).index = 1), "segment");
    assert_eq!(named(true, |r| segment(r).before = Digest::of(b"x")), "state root before");
    assert_eq!(named(true, |r| segment(r).fuel_before = 1), "fuel before");
    assert!(matches!(verdict(true, |r| r.segment = None), Err(VerifyError::Whole)));
}

#[test]
fn bytes_that_are_no_snapshot_begin_nothing() {
    let world = World::range();
    let (task, from) = (world.task(1), Some(b"rubbish".as_slice()));
    let receipt = told(&task, from, &honest());
    let steps = Steps { budget: 1, segment: 4_194_304 };
    let part = Part { task: &task, index: TaskIndex(1), steps, from };
    let machine = Machine(honest(), Cell::new(None));
    let verdict = verify_segment(&receipt, &part, &machine);
    assert!(matches!(verdict, Err(VerifyError::Snapshot(_))), "{verdict:?}");
}

#[test]
fn of_a_stopped_segment_only_the_fuel_is_run_again() {
    let (world, memory) = (World::range(), [7; 2 * PAGE]);
    let (task, blob) = (world.task(1), before(&memory).encode());
    let from = Some(blob.as_slice());
    let mut receipt = told(&task, from, &honest());
    (receipt.outcome, receipt.output, receipt.log) = (Outcome::Stopped, Digest::ZERO, Digest::ZERO);
    let steps = Steps { budget: 1, segment: 4_194_304 };
    let part = Part { task: &task, index: TaskIndex(1), steps, from };
    let machine = Machine(honest(), Cell::new(None));
    verify_segment(&receipt, &part, &machine).unwrap();
    assert_eq!(
        machine.1.get(),
        Some(9_200_000),
        "up to the fuel of the receipt, counted from the start"
    );
    let less = Machine(PartResult { fuel: 1, ..honest() }, Cell::new(None));
    assert!(verify_segment(&receipt, &part, &less).is_err());
}
