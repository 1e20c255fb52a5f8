//! A disk that takes nothing: what cannot be kept is given back, the owner reads why, and work goes on once it can.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;

use tallymill_protocol::Digest;
use tallymill_protocol::work::VoidCause;

use crate::world::{Echo, World};

/// A folder in whose place is a file, so that nothing can be written there.
struct Broken(PathBuf);

impl Broken {
    fn new(folder: &Path) -> Self {
        std::fs::rename(folder, folder.with_extension("away")).unwrap();
        std::fs::write(folder, b"").unwrap();
        Self(folder.to_owned())
    }

    fn mend(self) {
        std::fs::remove_file(&self.0).unwrap();
        std::fs::rename(self.0.with_extension("away"), &self.0).unwrap();
    }
}

/// Calls that asked for work.
fn polls(world: &World) -> usize {
    world.fake.lock().requests.iter().filter(|call| call.buffer > 0).count()
}

/// Fails unless what is leased while `folder` is broken is given back, and work goes on once it is not.
async fn gives_back_and_goes_on(mut world: World, folder: &str) {
    world.start().await;
    world.until(|status| !status.reasons.is_empty()).await;
    let broken = Broken::new(&world.state().join(folder));
    world.fake.grant_range(2);
    let status = world.until(|status| status.voids == 2 && status.trouble.is_some()).await;
    assert!(status.sentence().contains(folder), "{}", status.sentence());
    assert_eq!((status.credited, status.refused), (0, 0));
    world.until(|status| status.queued == 0 && status.undelivered == 0).await;
    // It asks for nothing that it could not keep, also when it has tried the disk again.
    let before = polls(&world);
    world.until(|status| status.sentence().contains("no work is asked for until then")).await;
    assert!(polls(&world) <= before + 1, "a call may have been on its way");
    world.fake.grant_range(1);
    broken.mend();
    let status = world.until(|status| status.credited == 1 && status.trouble.is_none()).await;
    assert_eq!((status.voids, status.undelivered), (2, 0));
    world.finish().await;
    let fake = world.fake.lock();
    assert!(fake.voids.iter().all(|void| void.cause == VoidCause::Withdrawn as u8));
    let away = world.state().join(folder).with_extension("away");
    assert!(!away.exists() && fake.receipts.len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_the_outbox_cannot_keep_are_given_back() {
    gives_back_and_goes_on(World::joined().await, "outbox").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_outputs_that_cannot_be_kept_are_given_back() {
    let world = World::joined().await;
    world.execute.large.store(true, SeqCst);
    gives_back_and_goes_on(world, "outbox/blobs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_cannot_be_written_costs_only_another_download() {
    let mut world = World::joined().await;
    world.start().await;
    world.until(|status| !status.reasons.is_empty()).await;
    let broken = Broken::new(&world.state().join("blobs"));
    world.fake.grant_range(1);
    let status = world.until(|status| status.credited == 1).await;
    assert_eq!((status.voids, status.trouble), (0, None));
    broken.mend();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_little_but_not_the_results_is_not_asked_for_more_work_at_once() {
    let mut world = World::joined().await;
    world.execute.large.store(true, SeqCst);
    world.options.heartbeat = std::time::Duration::from_secs(15);
    // A folder in the place of just this output.
    let blob = world.state().join("outbox/blobs").join(Digest::of(&Echo::LARGE).to_string());
    world.start().await;
    world.until(|status| !status.reasons.is_empty()).await;
    std::fs::create_dir(&blob).unwrap();
    world.fake.grant_range(1);
    let status = world.until(|status| status.voids == 1 && status.trouble.is_some()).await;
    // A small file could be written at once, which proves nothing: the owner can read what is wrong.
    assert!(status.sentence().contains("outbox/blobs"), "{}", status.sentence());
}
