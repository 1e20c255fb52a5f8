//! Void runs and lapsed leases: never votes, never paid, and bounded.

use tallymill_engine::rows::{FaultKind, JobState};
use tallymill_protocol::Policy;
use tallymill_protocol::work::{Verdict, VoidCause};

use crate::world::*;

#[test]
fn void_runs_of_two_owners_fail_the_task_with_their_cause() {
    let mut world = World::with_hosts(3);
    let job = world.quorum(1);
    let (first, second) = (world.lease(3).remove(0), world.lease(4).remove(0));
    world.void(3, &first, 0, VoidCause::NativeOverflow);
    assert_eq!(world.state(job), JobState::Running);
    world.restart();
    world.void(4, &second, 0, VoidCause::NativeOverflow);
    let cause = world.cause(job, 0).unwrap();
    assert_eq!(cause, "native stack overflow: void runs on hosts of 2 owners");
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.store.granted(account(2)), 100_000_000);
    assert_eq!(world.store.hosts[&host(3)].voided, 1);
}

#[test]
fn a_void_run_is_no_vote_and_its_host_comes_last() {
    let mut world = World::with_hosts(3);
    let job = world.quorum(1);
    let first = world.lease(3).remove(0);
    world.void(3, &first, 0, VoidCause::ChildDied);
    assert!(world.reasons(3).contains("did not give them up first"));
    world.pass(31 * SECOND);
    assert_eq!(world.lease(3).len(), 1, "after a wait it may try again");
    let second = world.lease(4).remove(0);
    assert_eq!(world.finish(4, &second, Run::honest), [Verdict::Taken]);
    assert_eq!(world.state(job), JobState::Running);
}

#[test]
fn no_owner_alone_fails_a_task_of_others() {
    let mut world = World::with_hosts(3);
    world.join(9, 3);
    let job = world.quorum(1);
    for number in [3, 9, 3] {
        let lease = world.lease(number).remove(0);
        world.void(number, &lease, 0, VoidCause::Compile);
        world.pass(31 * SECOND);
    }
    for number in [3, 9] {
        assert!(world.reasons(number).contains("an owner that has not given them up"));
    }
    world.pass(3_600 * SECOND);
    assert_eq!(world.cause(job, 0), None);
    world.drain(&[4, 5]);
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.store.jobs[&job].final_tasks, 1);
}

#[test]
fn a_trusted_task_fails_when_its_own_hosts_give_it_up() {
    let mut world = World::new();
    world.join(3, 2);
    let job = world.submit(&manifest(1, Policy::Trusted));
    for _ in 0..3 {
        let lease = world.lease(3).remove(0);
        world.void(3, &lease, 0, VoidCause::Compile);
    }
    assert_eq!(world.cause(job, 0).unwrap(), "abandoned: 3 runs on own hosts gave no result");
}

#[test]
fn a_refused_receipt_sends_the_task_to_another_owner_first() {
    let mut world = World::with_hosts(3);
    let job = world.quorum(1);
    let lease = world.lease(3).remove(0);
    let above = Run { fuel: 2_000_000, ..Run::honest(0) };
    assert_eq!(world.report_runs(3, &lease, &[(0, above)]).verdicts, [Verdict::Refused]);
    assert!(world.reasons(3).contains("did not give them up first"));
    world.drain(&[4, 5]);
    assert_eq!(world.state(job), JobState::Finished);
}

#[test]
fn work_that_an_owner_gives_back_counts_for_nothing() {
    let mut world = World::with_hosts(1);
    let job = world.quorum(1);
    for _ in 0..6 {
        let lease = world.lease(3).remove(0);
        world.void(3, &lease, 0, VoidCause::Withdrawn);
    }
    assert_eq!(world.cause(job, 0), None);
    assert_eq!(world.store.hosts[&host(3)].voided, 0);
}

#[test]
fn owners_whose_rules_do_not_allow_a_task_never_fail_it() {
    let mut world = World::with_hosts(5);
    let job = world.quorum(1);
    for number in [3, 4, 5] {
        let lease = world.lease(number).remove(0);
        world.void(number, &lease, 0, VoidCause::OwnerLimit);
        assert!(world.reasons(number).contains("did not give them up first"));
        world.restart();
    }
    assert_eq!(world.cause(job, 0), None);
    assert_eq!(world.store.hosts[&host(3)].voided, 0);
    world.drain(&[6, 7]);
    assert_eq!(world.store.jobs[&job].final_tasks, 1);
}

#[test]
fn somebody_elses_lease_cannot_be_voided() {
    let mut world = World::with_hosts(2);
    world.quorum(1);
    let lease = world.lease(3).remove(0);
    world.void(4, &lease, 0, VoidCause::ChildDied);
    world.void(3, &lease, 7, VoidCause::ChildDied);
    assert!(world.store.voids.is_empty());
}

#[test]
fn a_lapsed_lease_gives_its_tasks_to_others_and_counts_against_its_host() {
    let mut world = World::with_hosts(2);
    let job = world.quorum(4);
    let lease = world.lease_wide(3, 4).remove(0);
    world.pass(61 * SECOND);
    assert_eq!(world.store.hosts[&host(3)].abandoned, 4);
    assert_eq!(world.engine.job(job).unwrap().reserved.micros(), 0);
    assert_eq!(world.progress(3, &lease).stop, [lease.attempt], "it is not in force any more");
    assert_eq!(world.lease_wide(4, 4)[0].count, 4);
}

#[test]
fn a_heartbeat_renews_a_lease() {
    let mut world = World::with_hosts(1);
    world.quorum(4);
    let lease = world.lease(3).remove(0);
    for _ in 0..5 {
        world.pass(30 * SECOND);
        assert!(world.progress(3, &lease).stop.is_empty());
    }
    let row = &world.store.leases[&lease.attempt];
    assert!(row.expiry > world.now, "the renewal is kept");
    world.pass(61 * SECOND);
    assert!(world.store.leases.is_empty());
}

#[test]
fn a_start_forgets_neither_lapses_nor_refused_receipts() {
    let config = tallymill_engine::Config { lapse_owners: 3, ..config() };
    let mut world = World::with(config);
    (3..6).for_each(|number| world.join(number, number));
    let job = world.quorum(1);
    world.lease(3);
    world.pass(91 * SECOND);
    world.restart();
    let lease = world.lease(4).remove(0);
    let above = Run { fuel: 2_000_000, ..Run::honest(0) };
    assert_eq!(world.report_runs(4, &lease, &[(0, above)]).verdicts, [Verdict::Refused]);
    world.restart();
    // Both come after others, as before the start.
    for number in [3, 4] {
        assert!(world.reasons(number).contains("did not give them up first"));
    }
    world.lease(5);
    world.pass(91 * SECOND);
    assert_eq!(world.cause(job, 0).unwrap(), "abandoned: hosts of 3 owners gave no result");
    let kept: Vec<_> = world.store.voids.iter().map(|row| (row.fault, row.owner)).collect();
    let [lapsed, refused] = [FaultKind::Lapsed, FaultKind::Refused];
    assert_eq!(kept, [(lapsed, account(3)), (refused, account(4)), (lapsed, account(5))]);
    assert!(world.store.voids[1].detail.contains("fuel"), "{}", world.store.voids[1].detail);
}

#[test]
fn an_owner_that_gave_a_task_up_for_good_does_not_get_it_after_a_start() {
    let mut world = World::with_hosts(1);
    world.quorum(1);
    for _ in 0..3 {
        assert_eq!(world.lease(3).len(), 1);
        world.pass(91 * SECOND);
    }
    world.restart();
    world.pass(3_600 * SECOND);
    assert!(world.reasons(3).contains("an owner that has not given them up"));
}

#[test]
fn a_task_that_several_owners_abandon_fails_in_the_end() {
    let config = tallymill_engine::Config { lapse_owners: 3, ..config() };
    let mut world = World::with(config);
    (3..6).for_each(|number| world.join(number, number));
    let job = world.quorum(1);
    for number in [3, 4, 4, 5] {
        assert_eq!(world.cause(job, 0), None);
        assert_eq!(world.lease(number).len(), 1);
        world.pass(91 * SECOND);
    }
    assert_eq!(world.cause(job, 0).unwrap(), "abandoned: hosts of 3 owners gave no result");
}
