//! The worker against a coordinator that lives in the test.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a helper that fails fails its test, and its numbers are small"
)]

mod clocks;
mod disk;
mod fake;
mod forged;
mod keeping;
mod paying;
mod steps;
mod taken_over;
mod world;

use std::sync::atomic::Ordering::SeqCst;

use tallymill_protocol::work::{Verdict, VoidCause};
use tallymill_protocol::{Keypair, Outcome};
use tallymill_worker::{
    Command, Error, JoinError, Membership, Mode, Outbox, Strangers, Worker, ask_local, join,
};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn join_binds_for_at_most_ninety_days_and_says_what_is_visible() {
    let world = World::joined().await;
    let binding = world.fake.lock().bindings[0].clone();
    assert_eq!(binding.expiry.since(binding.issued), tallymill_protocol::MAX_BINDING);
    assert!(world.visible.contains("this machine's network address"));
    assert_eq!(Membership::load(world.state()).unwrap().host, binding.host);
    join(&world.url, world.state(), None).await.unwrap();
    assert_eq!(world.fake.lock().bindings[1].host, binding.host);
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinator_with_another_key_is_not_the_one_joined() {
    let world = World::joined().await;
    world.fake.lock().pair = Keypair::from_secret(&[99; 32]);
    let error = join(&world.url, world.state(), None).await.unwrap_err();
    assert!(matches!(error, JoinError::OtherCoordinator { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn lease_is_run_and_reported() {
    let mut world = World::joined().await;
    world.fake.grant_range(3);
    world.start().await;
    let status = world.until(|status| status.credited == 3).await;
    assert_eq!((status.undelivered, status.queued, status.voids), (0, 0, 0));
    let fake = world.fake.lock();
    // Slots finish in any order.
    let mut tasks: Vec<u32> = fake.receipts.iter().map(|receipt| receipt.task.0).collect();
    let one = tasks.iter().position(|task| *task == 1).unwrap();
    assert_eq!(fake.outputs[one], b"1\n");
    tasks.sort_unstable();
    assert_eq!(tasks, [0, 1, 2]);
    assert!(fake.logins >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn outbox_survives_an_outage_and_a_restart() {
    let mut world = World::joined().await;
    world.fake.grant_range(2);
    world.fake.down.store(true, SeqCst);
    world.fake.down_after_grant.store(true, SeqCst);
    world.fake.down.store(false, SeqCst);
    world.start().await;
    world.until(|status| status.undelivered > 0 && status.queued == 0).await;
    world.kill().await;
    let kept = Outbox::open(&world.state().join("outbox")).unwrap();
    let receipts: usize = kept.entries().map(|entry| entry.upload.receipts.0.len()).sum();
    assert_eq!(receipts, 2);
    world.fake.recover();
    world.start().await;
    world.until(|status| status.credited == 2 && status.undelivered == 0).await;
    assert!(Outbox::open(&world.state().join("outbox")).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_after_a_lost_answer_is_settled() {
    let mut world = World::joined().await;
    world.fake.lose_answers.store(1, SeqCst);
    world.fake.grant_range(1);
    world.start().await;
    world.until(|status| status.credited == 1 && status.undelivered == 0).await;
    assert!(world.fake.lock().seen.values().any(|times| *times == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_receipts_are_dropped_with_their_reason() {
    let mut world = World::joined().await;
    world.fake.lock().verdict = Verdict::Refused;
    world.fake.grant_range(2);
    world.start().await;
    let status = world.until(|status| status.refused == 2).await;
    assert_eq!(status.undelivered, 0);
    assert_eq!(status.last_refusal.as_deref(), Some("because"));
    world.finish().await;
    assert!(world.fake.lock().seen.values().all(|times| *times == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn report_that_cannot_be_read_is_set_aside() {
    let mut world = World::joined().await;
    world.fake.unreadable.store(true, SeqCst);
    world.fake.grant_range(1);
    world.start().await;
    let status = world.until(|status| status.refused == 1).await;
    assert_eq!(status.undelivered, 0);
    let aside = std::fs::read_dir(world.state().join("outbox")).unwrap();
    let aside =
        aside.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "refused"));
    assert_eq!(aside.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lease_of_another_signer_is_refused() {
    let mut world = World::joined().await;
    world.fake.lock().lease_signer = Some(Keypair::from_secret(&[99; 32]));
    world.fake.grant_range(1);
    world.start().await;
    let status = world.until(|status| status.trouble.is_some()).await;
    assert!(status.sentence().contains("a lease was not taken"), "{}", status.sentence());
    assert_eq!(status.queued, 0);
    world.until(|status| status.undelivered == 0 && status.voids == 1).await;
    world.finish().await;
    assert!(world.fake.lock().receipts.is_empty());
    assert_eq!(world.fake.lock().voids[0].cause, VoidCause::Withdrawn as u8);
}

#[tokio::test(flavor = "multi_thread")]
async fn table_inputs_run_with_their_proof_and_are_void_without() {
    let mut world = World::joined().await;
    world.fake.grant_table(false);
    world.start().await;
    world.until(|status| status.credited == 2).await;
    // Slots finish in any order.
    let mut outputs = world.fake.lock().outputs.clone();
    outputs.sort_unstable();
    assert_eq!(outputs, [b"beta".to_vec(), b"gamma".to_vec()]);
    world.fake.grant_table(true);
    world.until(|status| status.voids == 2).await;
    world.finish().await;
    let fake = world.fake.lock();
    assert!(fake.voids.iter().all(|void| void.cause == VoidCause::Unavailable as u8));
    assert!(fake.voids[0].detail.0.contains("proof"));
}

#[tokio::test(flavor = "multi_thread")]
async fn module_with_other_bytes_is_refused() {
    let mut world = World::joined().await;
    world.fake.corrupt.store(true, SeqCst);
    world.fake.grant_range(1);
    world.start().await;
    world.until(|status| status.voids == 1).await;
    world.finish().await;
    assert!(world.fake.lock().voids[0].detail.0.contains("came with the bytes of"));
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_rules_are_checked_here_too() {
    let mut world = World::joined().await;
    world.options.rules.refused_tags = vec!["physics".into()];
    world.fake.grant_range(1);
    world.start().await;
    world.until(|status| status.voids == 1).await;
    world.finish().await;
    assert_eq!(world.fake.lock().voids[0].cause, VoidCause::OwnerLimit as u8);
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_that_cannot_confine_takes_its_owners_jobs_alone() {
    let mut world = World::joined().await;
    world.options.strangers = Strangers::Refused("no lock".into());
    world.fake.grant_range(2);
    world.start().await;
    let status = world.until(|status| status.voids == 2).await;
    assert!(status.sentence().contains("cannot confine others': no lock"), "{}", status.sentence());
    world.finish().await;
    assert_eq!(world.fake.lock().voids[0].cause, VoidCause::OwnerLimit as u8);
    assert!(world.fake.lock().receipts.is_empty());
    let owner = Membership::load(world.state()).unwrap().owner;
    assert_eq!(world.fake.lock().requests[0].accept.submitters.0, [owner]);
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_that_cannot_confine_obeys_its_owner_and_says_so() {
    let mut world = World::joined().await;
    world.options.strangers = Strangers::Unconfined("no lock".into());
    world.fake.grant_range(1);
    world.start().await;
    let status = world.until(|status| status.credited == 1).await;
    assert!(status.sentence().contains("UNCONFINED"), "{}", status.sentence());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_output_is_uploaded_first() {
    let mut world = World::joined().await;
    world.execute.large.store(true, SeqCst);
    world.fake.grant_range(1);
    world.start().await;
    world.until(|status| status.credited == 1).await;
    let fake = world.fake.lock();
    assert_eq!(fake.outputs, [Vec::<u8>::new()]);
    assert!(fake.uploaded.contains(&fake.receipts[0].output));
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_ends_runs_as_stopped_receipts() {
    let mut world = World::joined().await;
    world.execute.block.store(true, SeqCst);
    world.fake.grant_range(1);
    world.start().await;
    world.until(|status| status.busy == 1).await;
    world.fake.stop_all();
    world.until(|status| status.credited == 1).await;
    assert_eq!(world.fake.lock().receipts[0].outcome, Outcome::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_gives_back_resume_works_again_finish_ends() {
    let mut world = World::joined().await;
    world.execute.block.store(true, SeqCst);
    world.fake.grant_range(4);
    world.start().await;
    world.until(|status| status.busy == 2).await;
    let status = ask_local(world.state(), Some(Command::Pause)).await.unwrap();
    assert_eq!(status.mode, Mode::Paused);
    world.until(|status| status.queued == 0 && status.busy == 0 && status.voids == 4).await;
    world.execute.block.store(false, SeqCst);
    world.fake.grant_range(2);
    assert_eq!(ask_local(world.state(), None).await.unwrap().credited, 0);
    world.handle().resume().await.unwrap();
    world.until(|status| status.credited == 2).await;
    world.finish().await;
    assert_eq!(world.handle().status().mode, Mode::Finished);
    let fake = world.fake.lock();
    assert!(fake.voids.iter().all(|void| void.cause == VoidCause::Withdrawn as u8));
    assert_eq!(fake.voids.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_never_share_a_state_directory() {
    let mut world = World::joined().await;
    world.start().await;
    let second = Worker::start(world.options.clone(), world.execute.clone()).await;
    assert!(matches!(second, Err(Error::Running(_))));
}
