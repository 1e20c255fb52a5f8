//! Children that were taken over, under a coordinator that hands out whatever it likes: what leaves the machine is signed for open tasks only.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Digest, Receipt, TaskIndex};
use tallymill_sandbox::Launcher;
use tallymill_worker::Sandboxed;

use crate::world::World;

/// What comes of three tasks whose module is compiled and run by children that tell this lie.
async fn after(lie: &str) -> (Vec<Receipt>, Vec<(u32, VoidCause)>) {
    let mut world = World::joined().await;
    let liar = world.state().join(lie);
    symlink(env!("CARGO_BIN_EXE_worker-liar"), &liar).unwrap();
    let modules = world.state().join("modules");
    let wall = Duration::from_secs(60);
    let sandbox = Sandboxed::open(Launcher::program(liar), &modules, 1 << 30, wall).unwrap();
    world.fake.grant_range(3);
    world.start_on(Arc::new(sandbox)).await;
    world.until(|status| status.credited + status.voids == 3 && status.undelivered == 0).await;
    world.finish().await;
    let fake = world.fake.lock();
    let voids = fake.voids.iter().map(|void| (void.task.0, VoidCause::from_code(void.cause)));
    let mut voids: Vec<_> = voids.collect();
    voids.sort_by_key(|(task, _)| *task);
    (fake.receipts.clone(), voids)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_was_taken_over_gets_signatures_for_its_own_tasks_alone() {
    let (receipts, voids) = after("behaves").await;
    let signed: BTreeMap<TaskIndex, Digest> = receipts.iter().map(|r| (r.task, r.output)).collect();
    assert_eq!((receipts.len(), signed.len(), voids.len()), (3, 3, 0));
    // What it forged for its own tasks is its host's word, which others' results and audits are for.
    assert!(signed.values().all(|output| *output == Digest::of(b"forged")));
    assert!(receipts.iter().all(|receipt| receipt.task.0 < 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_answers_for_another_task_gets_no_signature_at_all() {
    for lie in
        ["answers-for-the-next", "answers-unasked", "uses-too-much-fuel", "read-another-input"]
    {
        let (receipts, voids) = after(lie).await;
        assert!(receipts.is_empty(), "{lie}: {receipts:?}");
        assert_eq!(voids, [0, 1, 2].map(|task| (task, VoidCause::ChildDied)), "{lie}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_answers_twice_gets_one_signature_for_each_task() {
    let (receipts, voids) = after("answers-twice").await;
    let signed: BTreeMap<TaskIndex, u64> = receipts.iter().map(|r| (r.task, r.fuel)).collect();
    assert_eq!(signed.len(), receipts.len());
    assert_eq!(receipts.len() + voids.len(), 3);
}
