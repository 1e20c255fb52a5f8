//! Whose clock counts: the coordinator's, as it tells it.

use std::sync::atomic::Ordering::SeqCst;

use tallymill_protocol::Micros;
use tallymill_protocol::work::VoidCause;

use crate::world::World;

/// Much more than any lease lasts, µs.
const DAYS: i64 = 3 * Micros::DAY.cast_signed();

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_clock_is_days_ahead_works_all_the_same() {
    let mut world = World::joined().await;
    world.fake.ahead.store(-DAYS, SeqCst);
    world.fake.grant_range(3);
    world.start().await;
    let status = world.until(|status| status.credited == 3).await;
    assert_eq!((status.voids, status.trouble), (0, None));
    // A login ends when the coordinator says so, and not by this machine's clock.
    assert_eq!(world.fake.lock().logins, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_over_by_the_coordinators_clock_is_given_back() {
    let mut world = World::joined().await;
    // By this machine's clock it would last for days.
    world.fake.ahead.store(DAYS, SeqCst);
    world.fake.grant_range(2);
    world.fake.ahead.store(DAYS + 61 * Micros::SECOND.cast_signed(), SeqCst);
    world.start().await;
    let status = world.until(|status| status.voids == 2).await;
    assert!(status.sentence().contains("expiry"), "{}", status.sentence());
    world.finish().await;
    let fake = world.fake.lock();
    assert!(fake.receipts.is_empty());
    assert!(fake.voids.iter().all(|void| void.cause == VoidCause::Withdrawn as u8));
    assert!(fake.voids[0].detail.0.contains("not taken"), "{}", fake.voids[0].detail.0);
}
