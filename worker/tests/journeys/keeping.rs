//! What the worker keeps, says and tries again when something goes wrong.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;

use tallymill_protocol::work::{Position, VoidCause, WorkRequest};
use tallymill_protocol::{AttemptId, Digest};
use tallymill_worker::Outbox;

use crate::fake::Inner;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn chain_that_cannot_be_written_never_reuses_a_sequence() {
    let mut world = World::joined().await;
    let chain = world.state().join("chain");
    world.start().await;
    // Nothing can be renamed over a directory.
    let _ = std::fs::remove_file(&chain);
    std::fs::create_dir(&chain).unwrap();
    world.fake.grant_range(1);
    let status = world.until(|status| status.undelivered == 1 && status.trouble.is_some()).await;
    assert!(status.sentence().contains("chain"), "{}", status.sentence());
    world.fake.grant_range(1);
    world.until(|status| status.undelivered == 1 && status.credited >= 1).await;
    std::fs::remove_dir(&chain).unwrap();
    let status = world.until(|status| status.undelivered == 0).await;
    assert_eq!((status.credited, status.voids, status.trouble), (2, 0, None));
    let fake = world.fake.lock();
    let sequences: Vec<u64> = fake.reports.iter().map(|report| report.sequence).collect();
    assert_eq!(sequences, [0, 1]);
    assert_eq!(fake.reports[1].previous, fake.reports[0].digest());
    let kept = std::fs::read_to_string(&chain).unwrap();
    assert_eq!(kept, format!("2 {}\n", fake.reports[1].digest()));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_the_signer_refuses_are_given_back() {
    let mut world = World::joined().await;
    world.execute.greedy.store(true, SeqCst);
    world.fake.grant_range(2);
    world.start().await;
    let status = world.until(|status| status.voids == 2).await;
    assert!(status.trouble.unwrap().what.contains("not signed"));
    world.execute.greedy.store(false, SeqCst);
    world.fake.grant_range(1);
    let status = world.until(|status| status.credited == 1).await;
    assert_eq!(status.trouble, None);
    world.finish().await;
    let fake = world.fake.lock();
    // Slots finish in any order.
    let tasks: BTreeSet<u32> = fake.voids.iter().map(|void| void.task.0).collect();
    assert_eq!(tasks, BTreeSet::from([0, 1]));
    assert!(fake.voids.iter().all(|void| void.cause == VoidCause::Other as u8));
    assert_eq!(fake.receipts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_no_report_names_are_removed_at_the_start() {
    let mut world = World::joined().await;
    world.execute.large.store(true, SeqCst);
    world.fake.down_after_grant.store(true, SeqCst);
    world.fake.grant_range(1);
    world.start().await;
    world.until(|status| status.undelivered == 1).await;
    world.kill().await;
    let blobs = world.state().join("outbox/blobs");
    let orphan = blobs.join(Digest::of(b"orphan").to_string());
    std::fs::write(&orphan, b"orphan").unwrap();
    std::fs::write(blobs.join("half.part"), b"").unwrap();
    let half = world.state().join("outbox/0000000000000009.3.part");
    std::fs::write(&half, b"").unwrap();
    let outbox = Outbox::open(&world.state().join("outbox")).unwrap();
    let named = outbox.entries().next().unwrap().large[0];
    let left: Vec<_> = std::fs::read_dir(&blobs).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(left, [outbox.blob(&named)]);
    assert!(!half.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn login_that_ended_is_made_again() {
    let mut world = World::joined().await;
    world.start().await;
    world.fake.grant_range(1);
    world.until(|status| status.credited == 1).await;
    let before = world.fake.lock().logins;
    world.fake.forget_logins.store(1, SeqCst);
    world.fake.grant_range(1);
    let status = world.until(|status| status.credited == 2).await;
    assert_eq!(status.trouble, None);
    assert!(world.fake.lock().logins > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn login_whose_refusal_was_lost_with_the_connection_is_made_again() {
    let mut world = World::joined().await;
    world.start().await;
    world.until(|status| !status.reasons.is_empty()).await;
    world.fake.cut_logins.store(world.fake.lock().logins, SeqCst);
    world.fake.grant_range(1);
    let status = world.until(|status| status.credited == 1).await;
    assert_eq!(status.trouble, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn login_that_is_never_taken_is_said() {
    let mut world = World::joined().await;
    world.fake.forget_logins.store(u32::MAX, SeqCst);
    world.start().await;
    let status = world.until(|status| status.trouble.is_some()).await;
    assert!(status.sentence().contains("401"), "{}", status.sentence());
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeat_names_what_is_held_and_asks_for_nothing() {
    let mut world = World::joined().await;
    world.execute.block.store(true, SeqCst);
    world.fake.grant_range(4);
    world.start().await;
    world.until(|status| status.busy == 2).await;
    let attempt = world.fake.lock().attempts[0];
    let beat = loop {
        let beats = |fake: &Inner| {
            let mut requests = fake.requests.iter();
            requests.find(|call| call.buffer == 0 && !call.progress.0.is_empty()).cloned()
        };
        if let Some(beat) = beats(&world.fake.lock()) {
            break beat;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((beat.slots, beat.wait, beat.progress.0.len()), (2, 0, 1));
    assert_eq!((beat.progress.0[0].attempt, beat.progress.0[0].tasks), (attempt, 0));
    assert!(beat.reports.0.is_empty() && beat.voids.0.is_empty());
    world.execute.block.store(false, SeqCst);
    world.until(|status| status.credited == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input_with_other_bytes_is_void_and_never_runs() {
    let mut world = World::joined().await;
    world.fake.grant_other_input();
    world.start().await;
    world.until(|status| status.voids == 2).await;
    world.finish().await;
    let fake = world.fake.lock();
    assert!(fake.voids.iter().all(|void| void.cause == VoidCause::Unavailable as u8));
    assert!(fake.voids[0].detail.0.contains("input 1 is not the one submitted"));
    assert!(fake.receipts.is_empty());
}

/// The coordinator's chain of this host's reports, before the first.
const START: Option<Position> = Some(Position { sequence: 0, previous: Digest::ZERO });

#[tokio::test(flavor = "multi_thread")]
async fn reports_continue_where_a_restored_coordinator_stands() {
    let mut world = World::joined().await;
    world.start().await;
    for credited in 1..3 {
        world.fake.grant_range(1);
        world.until(|status| status.credited == credited).await;
    }
    // It was restored from a backup that knows nothing of this host's reports.
    world.fake.lock().chain = START;
    world.fake.grant_range(1);
    world.until(|status| status.credited == 3 && status.undelivered == 0).await;
    world.kill().await;
    world.fake.grant_range(1);
    world.start().await;
    let status = world.until(|status| status.credited == 1 && status.undelivered == 0).await;
    assert_eq!((status.refused, status.trouble), (0, None));
    let sequences: Vec<u64> = world.fake.lock().reports.iter().map(|it| it.sequence).collect();
    assert_eq!(sequences, [0, 1, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_never_taken_does_not_hold_up_the_next() {
    let mut world = World::joined().await;
    world.fake.lock().chain = START;
    world.fake.unreadable.store(true, SeqCst);
    world.fake.grant_range(1);
    world.start().await;
    world.until(|status| status.refused == 1).await;
    world.fake.unreadable.store(false, SeqCst);
    world.fake.grant_range(1);
    world.until(|status| status.credited == 1 && status.undelivered == 0).await;
    assert_eq!(world.fake.lock().reports[0].sequence, 0);
}

/// What calls that ask for work say is owed, where they please.
fn owed(fake: &Inner, pleases: impl Fn(&WorkRequest) -> bool) -> Vec<Vec<AttemptId>> {
    let calls = fake.requests.iter().filter(|call| call.buffer > 0 && pleases(call));
    calls.map(|call| call.held.clone().unwrap().0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn call_for_work_names_the_leases_it_holds() {
    let mut world = World::joined().await;
    world.execute.block.store(true, SeqCst);
    world.start().await;
    world.until_fake(|fake| owed(fake, |_| true) == [[]]).await;
    world.fake.grant_range(2);
    world.until(|status| status.busy == 2).await;
    let holds = |fake: &Inner| owed(fake, |_| true).ends_with(std::slice::from_ref(&fake.attempts));
    world.until_fake(holds).await;
    world.execute.block.store(false, SeqCst);
    world.until(|status| status.credited == 2).await;
    world.until_fake(|fake| owed(fake, |_| true).ends_with(&[vec![]])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn report_is_owed_until_it_is_answered() {
    let mut world = World::joined().await;
    world.fake.lose_answers.store(u32::MAX, SeqCst);
    world.fake.grant_range(1);
    world.start().await;
    let sent_again = |fake: &Inner| owed(fake, |call| !call.reports.0.is_empty());
    world.until_fake(|fake| sent_again(fake).contains(&fake.attempts)).await;
    world.fake.lose_answers.store(0, SeqCst);
    world.until(|status| status.credited == 1).await;
    world.until_fake(|fake| owed(fake, |_| true).ends_with(&[vec![]])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn void_run_is_owed_until_it_is_said() {
    let mut world = World::joined().await;
    world.fake.down_after_grant.store(true, SeqCst);
    world.fake.grant_other_input();
    world.start().await;
    world.until(|status| status.voids == 2 && status.trouble.is_some()).await;
    world.fake.recover();
    let says = |fake: &Inner| owed(fake, |call| !call.voids.0.is_empty());
    world.until_fake(|fake| says(fake) == std::slice::from_ref(&fake.attempts)).await;
    world.until_fake(|fake| owed(fake, |_| true).ends_with(&[vec![]])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn void_run_is_owed_while_the_call_that_says_it_is_on_its_way() {
    let mut world = World::joined().await;
    world.execute.block.store(true, SeqCst);
    world.fake.grant_range(1);
    world.start().await;
    world.until(|status| status.busy == 1).await;
    world.fake.hold_voids.store(true, SeqCst);
    world.handle().pause().await.unwrap();
    world.until_fake(|fake| fake.requests.iter().any(|call| !call.voids.0.is_empty())).await;
    world.execute.block.store(false, SeqCst);
    world.until(|status| status.busy == 0).await;
    let before = owed(&world.fake.lock(), |_| true).len();
    world.handle().resume().await.unwrap();
    world.until_fake(|fake| owed(fake, |_| true).len() > before).await;
    let said = owed(&world.fake.lock(), |_| true).remove(before);
    assert_eq!(said, world.fake.lock().attempts);
    world.fake.hold_voids.store(false, SeqCst);
    world.until_fake(|fake| owed(fake, |_| true).ends_with(&[vec![]])).await;
}
