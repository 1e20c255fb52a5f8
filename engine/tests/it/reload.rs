//! A new process finds again what was committed, and nothing that was not.

use tallymill_engine::rows::{JobState, Snapshot, SuspensionKind};
use tallymill_engine::{Engine, LoadError};
use tallymill_ledger::{AccountKey, AccountKind, Amount};
use tallymill_protocol::work::Verdict;
use tallymill_protocol::{Micros, Policy, TaskIndex};

use crate::world::*;

#[test]
fn leases_and_waiting_results_survive_and_the_job_ends_as_if_nothing_had_been() {
    let mut world = World::with_hosts(3);
    let job = world.quorum(9_000);
    let mut held = Vec::new();
    for _ in 0..6 {
        let lease = world.lease_wide(3, 4).remove(0);
        world.finish(3, &lease, Run::honest);
    }
    held.extend(world.lease_wide(4, 4));
    let lease = world.lease_wide(5, 4).remove(0);
    let before = world.engine.job(job).unwrap();
    world.restart();
    let after = world.engine.job(job).unwrap();
    assert_eq!((after.leased, after.undecided), (before.leased, before.undecided));
    assert_eq!((after.reserved, after.totals), (before.reserved, before.totals));
    assert_eq!((after.untouched, after.waiting), (before.untouched, before.waiting));
    assert_eq!(lease.epoch + 1, world.engine.epoch());
    let verdicts = world.finish(5, &lease, Run::honest);
    assert!(verdicts.iter().all(|verdict| *verdict != Verdict::Refused), "of the epoch before");
    for lease in held {
        world.finish(4, &lease, Run::honest);
    }
    world.drain(&[3, 4, 5]);
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.store.jobs[&job].final_tasks, 9_000);
}

#[test]
fn neighbours_of_leases_and_results_are_still_kept_away_after_a_start() {
    let mut world = World::with_hosts(5);
    let job = world.submit(&manifest(1, Policy::Quorum { n: 3 }));
    let voted = world.work_from(1, 3, Vec::new()).grants.remove(0).lease;
    world.finish(3, &voted, Run::honest);
    let held = world.work_from(2, 4, Vec::new()).grants.remove(0).lease;
    world.restart();
    for place in [1, 2] {
        let answer = world.work_from(place, 5, Vec::new());
        assert!(answer.grants.is_empty(), "neighbourhood {place}");
        assert!(answer.reasons[0].contains("another neighbourhood"), "{:?}", answer.reasons);
    }
    world.pass(31 * SECOND);
    let third = world.work_from(1, 5, Vec::new()).grants.remove(0).lease;
    world.restart();
    world.finish(4, &held, Run::honest);
    world.finish(5, &third, Run::honest);
    assert_eq!(world.state(job), JobState::Finished);
    let told: Vec<_> = world.store.replicas.values().map(|row| (row.host, row.relaxed)).collect();
    assert_eq!(told, [(host(3), false), (host(4), false), (host(5), true)]);
}

#[test]
fn every_lease_gets_a_full_grace_after_a_start() {
    let mut world = World::with_hosts(1);
    world.quorum(4);
    let lease = world.lease(3).remove(0);
    world.now = world.now.plus(3_600 * SECOND);
    world.restart();
    world.pass(59 * SECOND);
    assert!(world.progress(3, &lease).stop.is_empty());
}

#[test]
fn an_escrow_that_does_not_cover_its_leases_is_found() {
    let mut world = World::with_hosts(1);
    let job = world.quorum(4);
    world.lease(3);
    assert_eq!(world.engine.uncovered(), []);
    let reserved = world.engine.job(job).unwrap().reserved;
    let kind = AccountKind::Escrow { job };
    let escrow = AccountKey { issuer: identity().coordinator, kind };
    let short = Amount::new(reserved.micros() - 1);
    world.store.balances.get_mut(&escrow).unwrap().amount = short;
    let snapshot = world.store.load();
    world.engine = Engine::new(identity(), config(), snapshot, world.now).unwrap();
    assert_eq!(world.engine.uncovered(), [(job, short, reserved)]);
}

#[test]
fn an_old_lease_gets_no_longer_term_by_a_start() {
    let mut world = World::with_hosts(2);
    world.quorum(1);
    let lease = world.lease(3).remove(0);
    for fuel in 0..2_000 {
        assert!(world.heartbeat(3, &lease, fuel).stop.is_empty());
        world.pass(20 * SECOND);
    }
    world.restart();
    // Its host has gone: what it held for hours does not wait for hours.
    world.pass(120 * SECOND);
    assert!(world.store.leases.is_empty());
    assert_eq!(world.lease(4).len(), 1);
}

#[test]
fn an_engine_loaded_again_with_the_same_seed_in_the_same_epoch_repeats_no_lease() {
    let mut world = World::with_hosts(2);
    world.quorum(4);
    let first = world.lease(3).remove(0);
    let mut snapshot = world.store.load();
    snapshot.epoch = first.epoch;
    world.engine = Engine::new(identity(), config(), snapshot, world.now).unwrap();
    let second = world.lease(4).remove(0);
    assert_eq!((second.epoch, second.issued), (first.epoch, first.issued));
    assert_ne!(second.attempt, first.attempt);
    assert_ne!(second.nonce, first.nonce);
}

#[test]
fn what_was_not_committed_never_happened() {
    let mut world = World::with_hosts(1);
    let job = world.quorum(4);
    world.post(world.call(3, World::ask(), Vec::new()));
    world.restart();
    let view = world.engine.job(job).unwrap();
    assert_eq!((view.leased, view.untouched), (0, 4));
    assert!(world.replies.is_empty());
}

#[test]
fn time_never_moves_back() {
    let mut world = World::with_hosts(1);
    world.quorum(4);
    let committed = world.store.snapshot.now;
    world.now = Micros(1);
    world.restart();
    let lease = world.lease(3).remove(0);
    assert!(lease.issued >= committed);
}

#[test]
fn a_void_run_stays_given_back() {
    let mut world = World::with_hosts(2);
    let job = world.quorum(2);
    let lease = world.lease_wide(3, 4).remove(0);
    world.void(3, &lease, 0, tallymill_protocol::work::VoidCause::ChildDied);
    world.restart();
    assert_eq!(world.engine.job(job).unwrap().leased, 1);
    let answer = world.report_runs(3, &lease, &[(1, Run::honest(1))]);
    assert_eq!(answer.verdicts, [Verdict::Taken]);
    assert_eq!(world.engine.job(job).unwrap().leased, 0);
}

/// A lease of a host over both tasks of a job whose credit just covers two results of each.
fn tight() -> (World, tallymill_protocol::JobId, tallymill_protocol::Lease) {
    let mut world = World::with_hosts(3);
    let job = world.quorum(2);
    let lease = world.lease_wide(3, 4).remove(0);
    assert_eq!(lease.count, 2);
    (world, job, lease)
}

#[test]
fn a_task_whose_receipt_was_refused_stays_with_the_host_that_has_it_now() {
    let (mut world, job, lease) = tight();
    let inflated = Run { fuel: 1_000_001, ..Run::honest(0) };
    assert_eq!(world.report_runs(3, &lease, &[(0, inflated)]).verdicts, [Verdict::Refused]);
    world.lease_wide(4, 4);
    world.lease_wide(5, 4);
    let before = world.engine.job(job).unwrap();
    world.restart();
    let after = world.engine.job(job).unwrap();
    assert_eq!((after.leased, after.reserved), (before.leased, before.reserved));
    assert_eq!(world.report_runs(3, &lease, &[(1, Run::honest(1))]).verdicts, [Verdict::Taken]);
}

#[test]
fn a_run_that_was_stopped_and_paid_is_not_held_again() {
    let (mut world, job, lease) = tight();
    world.cancel(job);
    world.report_runs(3, &lease, &[(0, Run::stopped(500))]);
    let before = world.engine.job(job).unwrap();
    world.restart();
    let after = world.engine.job(job).unwrap();
    assert_eq!((after.leased, after.reserved), (before.leased, before.reserved));
    assert_eq!(after.leased, 1);
}

#[test]
fn leases_of_suspended_hosts_and_owners_stay_stopped() {
    for (kind, subject) in
        [(SuspensionKind::Host, host(3).0), (SuspensionKind::Account, account(3).0)]
    {
        let (mut world, job, lease) = tight();
        world.suspend(kind, subject);
        world.restart();
        assert_eq!(world.progress(3, &lease).stop, [lease.attempt], "{kind:?}");
        world.pass(61 * SECOND);
        assert_eq!(world.engine.job(job).unwrap().leased, 0, "{kind:?}: time to report is over");
    }
}

fn damaged(change: impl Fn(&mut Snapshot)) -> LoadError {
    let mut world = World::with_hosts(2);
    world.quorum(4);
    let lease = world.lease(3).remove(0);
    world.finish(3, &lease, Run::honest);
    world.lease(4);
    let mut snapshot = world.store.load();
    change(&mut snapshot);
    Engine::new(identity(), config(), snapshot, world.now).unwrap_err()
}

#[test]
fn a_snapshot_that_contradicts_itself_is_refused() {
    let orphan = |error: LoadError| assert!(matches!(error, LoadError::Orphan { .. }), "{error}");
    let gone = tallymill_protocol::JobId([0; 32]);
    orphan(damaged(|it| it.leases[0].job = gone));
    orphan(damaged(|it| it.replicas[0].job = gone));
    let error = damaged(|it| it.jobs[0].envelope.payload.0.truncate(9));
    assert!(matches!(error, LoadError::Manifest { .. }), "{error}");
    let error = damaged(|it| it.replicas[0].receipt.clear());
    assert!(matches!(error, LoadError::Receipt { .. }), "{error}");
    let error = damaged(|it| it.jobs[0].final_tasks = 1);
    assert!(matches!(error, LoadError::Totals { said: 1, found: 0, .. }), "{error}");
    let error = damaged(|it| it.jobs[0].escrow = Amount::new(1));
    assert!(matches!(error, LoadError::Reserved { .. }), "{error}");
    let error = damaged(|it| it.accounts.clear());
    assert!(matches!(error, LoadError::Owner { .. }), "{error}");
}

#[test]
fn equal_commands_give_equal_decisions() {
    let run = || {
        let mut world = World::with_hosts(3);
        let job = world.quorum(50);
        world.drain(&[3, 4, 5]);
        (world.store.tasks[&(job, TaskIndex(7))].clone(), world.store.transfers)
    };
    assert_eq!(run(), run());
}
