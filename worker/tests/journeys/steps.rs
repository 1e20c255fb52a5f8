//! Segments of long tasks: begun from a snapshot that is checked, reported with one that is uploaded.

use std::sync::atomic::Ordering::SeqCst;

use tallymill_protocol::snapshot::{Counters, Facts, Files, Handles, Pages, Snapshot};
use tallymill_protocol::work::{SegmentStart, VoidCause};
use tallymill_protocol::{Digest, Outcome, Segment, TaskIndex};

use crate::world::World;

/// A state after 5,000,000 fuel, and where a task stands that has come to it.
fn standing() -> (SegmentStart, Vec<u8>) {
    let (metered, fuel) = (Digest::of(b"metered"), 5_000_000);
    let snapshot = Snapshot {
        facts: Facts { metered, fuel, memory_fuel: 0, summed: 0, steps: 9, peak_pages: 0 },
        pages: Pages::default(),
        globals: Vec::new(),
        tables: Vec::new(),
        data: Vec::new(),
        elements: Vec::new(),
        output: b"half of the work",
        log: b"",
        handles: Handles::default(),
        files: Files::default(),
        counters: Counters::default(),
    };
    let blob = snapshot.encode();
    let start = SegmentStart {
        task: TaskIndex(0),
        index: 3,
        root: snapshot.root(),
        fuel,
        snapshot: Some(Digest::of(&blob)),
        length: blob.len() as u64,
    };
    (start, blob)
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_goes_on_from_its_snapshot_and_leaves_one_that_survives_a_restart() {
    let mut world = World::joined().await;
    let (start, blob) = standing();
    world.fake.down_after_grant.store(true, SeqCst);
    world.fake.grant_segment(start, &blob);
    world.start().await;
    world.until(|status| status.undelivered > 0 && status.queued == 0).await;
    world.kill().await;
    world.fake.recover();
    world.start().await;
    world.until(|status| status.credited == 1 && status.undelivered == 0).await;
    let fake = world.fake.lock();
    let [receipt] = &fake.receipts[..] else { panic!("{:?}", fake.receipts) };
    let segment = Segment {
        index: 3,
        before: start.root,
        after: Digest::of(b"after"),
        fuel_before: 5_000_000,
        fuel_after: 5_000_010,
    };
    assert_eq!((receipt.outcome, receipt.segment), (Outcome::Paused, Some(segment)));
    assert_eq!((receipt.fuel, receipt.bytes_in), (10, blob.len() as u64 + 2));
    assert_eq!(receipt.output, Digest::of(&[&blob[..], b"0\n"].concat()), "it was begun from it");
    assert_eq!(fake.outputs, [Vec::<u8>::new()], "a snapshot is a blob, however small");
    assert!(fake.uploaded.contains(&receipt.output));
}

#[tokio::test(flavor = "multi_thread")]
async fn first_segment_begins_with_nothing() {
    let mut world = World::joined().await;
    let (root, snapshot, length) = (Digest::ZERO, None, 0);
    let start = SegmentStart { task: TaskIndex(0), index: 0, root, fuel: 0, snapshot, length };
    world.fake.grant_segment(start, b"");
    world.start().await;
    world.until(|status| status.credited == 1).await;
    let segment = world.fake.lock().receipts[0].segment.unwrap();
    assert_eq!((segment.index, segment.before, segment.fuel_after), (0, Digest::ZERO, 10));
}

/// What is said of a grant that is wrong in this way.
async fn refused(change: impl Fn(&mut SegmentStart)) -> String {
    let mut world = World::joined().await;
    let (mut start, blob) = standing();
    change(&mut start);
    world.fake.grant_segment(start, &blob);
    world.start().await;
    world.until(|status| status.voids == 1 && status.queued == 0).await;
    world.finish().await;
    let fake = world.fake.lock();
    assert!(fake.receipts.is_empty());
    assert_eq!(fake.voids[0].cause, VoidCause::Unavailable as u8);
    fake.voids[0].detail.0.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_that_is_not_where_the_task_stands_is_never_gone_on_from() {
    assert!(refused(|start| start.root = Digest::ZERO).await.contains("not of the state"));
    assert!(refused(|start| start.fuel += 1).await.contains("not of the state"));
    assert!(refused(|start| start.task = TaskIndex(1)).await.contains("another task"));
    assert!(refused(|start| start.snapshot = None).await.contains("without its snapshot"));
    assert!(refused(|start| start.length -= 1).await.contains("more than"));
}
