//! Running again: an honest receipt holds, and every false figure is named.

use std::sync::Arc;

use tallymill_audit::{Executor, Mismatch, Task, VerifyError};
use tallymill_protocol::{Digest, Limits, Outcome, Receipt, Segment, Versions};
use tallymill_sandbox::JobSpec;

use crate::world::{World, executor};

fn mismatch(receipt: &Receipt, task: &Task<'_>) -> Mismatch {
    match executor().verify(receipt, task) {
        Err(VerifyError::Mismatch(mismatch)) => mismatch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn honest_receipts_hold() {
    for world in [World::range(), World::table()] {
        executor().verify(&world.receipts[1], &world.task(1)).unwrap();
    }
}

#[test]
fn every_false_figure_is_named() {
    let world = World::range();
    type Falsify = fn(&mut Receipt);
    let cases: [(Falsify, &str); 10] = [
        (|r| r.module = Digest::ZERO, "module"),
        (|r| r.input = Digest::ZERO, "input"),
        (|r| r.metered = Digest::ZERO, "metered module"),
        (|r| r.outcome = Outcome::FuelExhausted, "outcome"),
        (|r| r.output = Digest::ZERO, "output"),
        (|r| r.fuel += 1, "fuel"),
        (|r| r.log = Digest::ZERO, "log"),
        (|r| r.bytes_out += 1, "bytes out"),
        (|r| r.peak_memory += 1, "peak memory"),
        (|r| r.memory_fuel += 1, "memory × fuel"),
    ];
    for (falsify, what) in cases {
        let mut receipt = world.receipts[1].clone();
        falsify(&mut receipt);
        assert_eq!(mismatch(&receipt, &world.task(1)).what, what);
    }
}

#[test]
fn what_depends_on_the_manifest_is_seen() {
    let world = World::range();
    let task = world.task(1);
    let mut files = task.job.files.clone();
    files[0].bytes = b"another".as_slice().into();
    let job = Arc::new(JobSpec { files, ..JobSpec::clone(&task.job) });
    assert_eq!(mismatch(&world.receipts[1], &Task { job, ..task.clone() }).what, "output");
    let limits = Limits { fuel: 10, ..task.job.limits };
    let job = Arc::new(JobSpec { limits, ..JobSpec::clone(&task.job) });
    let found = mismatch(&world.receipts[1], &Task { job, ..task });
    assert_eq!((found.what, found.found.as_str()), ("outcome", "fuel exhausted"));
}

#[test]
fn a_stopped_run_must_have_used_its_fuel() {
    let world = World::range();
    let whole = world.receipts[1].fuel;
    let stopped = |fuel| Receipt { outcome: Outcome::Stopped, fuel, ..world.receipts[1].clone() };
    executor().verify(&stopped(0), &world.task(1)).unwrap();
    executor().verify(&stopped(whole / 2), &world.task(1)).unwrap();
    let found = mismatch(&stopped(whole + 5), &world.task(1));
    assert_eq!((found.what, found.found), ("fuel", whole.to_string()));
}

#[test]
fn what_cannot_be_judged_is_said_so() {
    let world = World::range();
    let task = world.task(1);
    let newer = Task { versions: Versions { meter: 99, ..task.versions }, ..task.clone() };
    let error = executor().verify(&world.receipts[1], &newer).unwrap_err();
    assert!(error.to_string().contains("meter 99"), "{error}");
    let segment = Some(Segment {
        index: 2,
        before: Digest::ZERO,
        after: Digest::ZERO,
        fuel_before: 0,
        fuel_after: 1,
    });
    let part = Receipt { segment, ..world.receipts[1].clone() };
    assert!(matches!(executor().verify(&part, &task), Err(VerifyError::Segment { index: 2 })));
    let refused = Task { module: b"no module", ..task.clone() };
    let receipt = Receipt { module: Digest::of(b"no module"), ..world.receipts[1].clone() };
    assert!(matches!(executor().verify(&receipt, &refused), Err(VerifyError::Prepare(_))));
    let hasty = Executor { wall: std::time::Duration::ZERO, ..executor() };
    assert!(matches!(hasty.verify(&world.receipts[1], &task), Err(VerifyError::Void(_))));
}
