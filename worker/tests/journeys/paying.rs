//! Submitters whose jobs pay too little for their processor time.

use std::sync::atomic::Ordering::SeqCst;

use tallymill_protocol::AccountId;
use tallymill_protocol::work::VoidCause;

use crate::world::World;

/// The fake coordinator's jobs are this one's.
fn submitter(world: &World) -> AccountId {
    world.fake.lock().signer.public().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_too_little_is_not_worked_for_and_both_sides_read_why() {
    let mut world = World::joined().await;
    let submitter = submitter(&world);
    // Two tasks of six seconds each use up the ten that the owner is patient for.
    world.execute.slow.store(6_000_000, SeqCst);
    world.fake.grant_range(2);
    world.start().await;
    let status = world.until(|status| status.credited == 2 && status.undelivered == 0).await;
    assert_eq!(status.voids, 0, "what was run is reported all the same");
    world.fake.grant_range(3);
    world.until(|status| status.voids == 3).await;
    let status = world.until(|status| !status.refused_payers.is_empty()).await;
    assert_eq!(status.refused_payers, [submitter.to_string()]);
    assert!(status.sentence().contains("they pay too little"), "{}", status.sentence());
    world.until_fake(|fake| fake.voids.len() == 3).await;
    let fake = world.fake.lock();
    assert!(fake.voids.iter().all(|void| void.cause == VoidCause::Withdrawn as u8));
    assert!(fake.voids[0].detail.0.contains("less than 50 % of the ordinary price"));
    let told = fake.requests.iter().any(|ask| ask.accept.refused_submitters.0 == [submitter]);
    assert!(told, "the coordinator is told not to lease for them");
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_who_asks_for_nothing_works_for_anybody() {
    let mut world = World::joined().await;
    world.options.least_pay = 0;
    world.execute.slow.store(60_000_000, SeqCst);
    world.fake.grant_range(2);
    world.start().await;
    world.until(|status| status.credited == 2).await;
    world.fake.grant_range(3);
    let status = world.until(|status| status.credited == 5).await;
    assert_eq!((status.voids, status.refused_payers.len()), (0, 0));
}
