//! Cancellation, deadlines and suspensions: leases are told to stop, what ran is paid, the rest returns.

use tallymill_engine::rows::{JobState, ReplicaState, SuspensionKind};
use tallymill_engine::{Ask, Command, Refusal};
use tallymill_protocol::work::Verdict;
use tallymill_protocol::{Policy, TaskIndex};

use crate::world::*;

#[test]
fn a_cancelled_job_pays_up_to_the_last_slice_and_returns_the_rest() {
    let mut world = World::with_hosts(2);
    let job = world.quorum(4);
    let lease = world.lease_wide(3, 4).remove(0);
    assert_eq!(world.report_runs(3, &lease, &[(0, Run::honest(0))]).verdicts, [Verdict::Taken]);
    world.cancel(job);
    assert_eq!(world.state(job), JobState::Stopping);
    assert!(world.reasons(4).contains("no job"));
    assert_eq!(world.progress(3, &lease).stop, [lease.attempt]);
    let runs = [(1, Run::stopped(5_000)), (2, Run::stopped(1)), (3, Run::honest(3))];
    let answer = world.report_runs(3, &lease, &runs);
    assert_eq!(answer.verdicts, [Verdict::Settled, Verdict::Settled, Verdict::Taken]);
    assert_eq!(world.state(job), JobState::Cancelled);
    // 1,000 and 1,003 fuel of whole results that nobody could confirm any more; 5,000 and 1 of stopped ones.
    assert_eq!(world.store.available(account(3)), 1 + 2 + 5 + 1);
    assert_eq!(world.store.granted(account(2)), 100_000_000 - 9);
    let states = world.store.replicas.values().map(|row| row.state);
    assert!(states.into_iter().all(|state| state == ReplicaState::Stopped));
    assert!(world.store.tasks.is_empty(), "a stopped run is never a result");
}

#[test]
fn a_stopped_run_is_paid_once() {
    let mut world = World::with_hosts(3);
    let job = world.quorum(1);
    let (mine, _open) = (world.lease(3).remove(0), world.lease(4).remove(0));
    world.cancel(job);
    assert_eq!(world.report_runs(3, &mine, &[(0, Run::stopped(10))]).verdicts, [Verdict::Settled]);
    assert_eq!(world.state(job), JobState::Stopping);
    let again = [(0, Run::stopped(20))];
    assert_eq!(world.report_runs(3, &mine, &again).verdicts, [Verdict::Superseded]);
    let whole = [(0, Run::honest(0))];
    assert_eq!(world.report_runs(3, &mine, &whole).verdicts, [Verdict::Superseded]);
    world.restart();
    assert_eq!(world.state(job), JobState::Stopping);
    let mine_again = world.report_runs(3, &mine, &whole);
    assert_eq!(mine_again.verdicts, [Verdict::Superseded], "also after a restart");
    assert_eq!(world.store.available(account(3)), 1);
}

#[test]
fn a_stopped_run_that_its_host_dropped_holds_its_job_up_no_longer() {
    let mut world = World::with_hosts(1);
    let job = world.quorum(1);
    world.pass(SECOND);
    world.lease(3);
    world.cancel(job);
    assert_eq!(world.state(job), JobState::Stopping);
    world.work(3, Ask { held: Some(Vec::new()), ..World::ask() }, Vec::new());
    assert_eq!(world.state(job), JobState::Cancelled);
    assert_eq!(world.store.hosts[&host(3)].abandoned, 0, "it was told to stop");
}

/// One task of up to 10¹⁰ fuel, leased by host 3 whose only slot then ran for 1 ms: 2·10⁹ fuel and a slice at the most.
fn long_task() -> (World, tallymill_protocol::Lease) {
    let mut world = World::with_hosts(1);
    let mut manifest = manifest(2, Policy::Quorum { n: 2 });
    manifest.limits.fuel = 10_000_000_000;
    world.submit(&manifest);
    let lease = world.lease_wide(3, 2).remove(0);
    assert_eq!(lease.count, 2);
    (world, lease)
}

const MOST: u64 = 2_000_000_000 + (1 << 22);

#[test]
fn a_stopped_run_is_paid_at_most_what_the_fastest_machine_could_have_done() {
    let (mut world, lease) = long_task();
    world.cancel(lease.job);
    world.pass(SECOND / 1000);
    let inflated = world.report_runs(3, &lease, &[(0, Run::stopped(MOST + 1))]);
    assert_eq!(inflated.verdicts, [Verdict::Refused]);
    assert!(inflated.reason.contains("no machine does more than 2004194304"), "{inflated:?}");
    assert_eq!(
        world.report_runs(3, &lease, &[(1, Run::stopped(MOST))]).verdicts,
        [Verdict::Settled]
    );
}

#[test]
fn all_stopped_runs_of_a_lease_fit_what_its_host_said_before() {
    let (mut world, lease) = long_task();
    world.pass(SECOND / 2000);
    world.heartbeat(3, &lease, 1_000);
    world.cancel(lease.job);
    world.heartbeat(3, &lease, 9_000_000_000);
    world.pass(SECOND / 2000);
    // Two slots for 0.5 ms since the heartbeat that counts, and a slice each.
    let both = 1_000 + MOST - (1 << 22) + 2 * (1 << 22);
    let runs = [(0, Run::stopped(MOST)), (1, Run::stopped(both - MOST + 1))];
    let answer = world.report_runs(3, &lease, &runs);
    assert_eq!(answer.verdicts, [Verdict::Settled, Verdict::Refused], "{}", answer.reason);
}

#[test]
fn a_result_that_no_machine_had_the_time_for_is_refused() {
    let (mut world, lease) = long_task();
    world.pass(SECOND / 1000);
    let run = Run { fuel: MOST + 1, ..Run::honest(0) };
    assert_eq!(world.report_runs(3, &lease, &[(0, run)]).verdicts, [Verdict::Refused]);
}

#[test]
fn a_job_whose_hosts_stay_silent_ends_after_a_grace() {
    let mut world = World::with_hosts(1);
    let job = world.quorum(4);
    let lease = world.lease_wide(3, 4).remove(0);
    world.cancel(job);
    world.pass(59 * SECOND);
    world.progress(3, &lease);
    assert_eq!(world.state(job), JobState::Stopping, "a heartbeat does not renew it");
    world.pass(2 * SECOND);
    assert_eq!(world.state(job), JobState::Cancelled);
    assert_eq!(world.store.granted(account(2)), 100_000_000);
    assert_eq!(world.store.hosts[&host(3)].abandoned, 0, "who is told to stop abandons nothing");
}

#[test]
fn a_job_without_leases_ends_at_once_and_twice_is_an_error() {
    let mut world = World::with_hosts(1);
    let job = world.quorum(4);
    let by = account(4);
    let command = Command::Cancel { job, by, reason: String::new(), once: None };
    assert!(matches!(world.refused(command), Refusal::Forbidden { .. }));
    world.cancel(job);
    assert_eq!(world.state(job), JobState::Cancelled);
    let again = Command::Cancel { job, by: account(2), reason: String::new(), once: None };
    assert_eq!(world.refused(again), Refusal::UnknownJob(job));
}

#[test]
fn the_deadline_stops_a_job() {
    let mut world = World::with_hosts(1);
    let mut manifest = manifest(4, Policy::Quorum { n: 2 });
    manifest.deadline = world.now.plus(10 * SECOND);
    let job = world.submit(&manifest);
    let lease = world.lease_wide(3, 4).remove(0);
    assert_eq!(world.engine.poll_timeout(), Some(manifest.deadline));
    world.pass(10 * SECOND);
    assert_eq!(world.state(job), JobState::Stopping);
    world.restart();
    world.pass(SECOND);
    let runs: Vec<_> = (0..4).map(|task| (task, Run::stopped(2_000))).collect();
    assert_eq!(world.report_runs(3, &lease, &runs).verdicts, [Verdict::Settled; 4]);
    assert_eq!(world.state(job), JobState::Expired, "known again after a restart");
    assert_eq!(world.store.available(account(3)), 8);
}

#[test]
fn suspending_a_job_a_module_or_a_payer_refunds_what_did_not_run() {
    let module = tallymill_protocol::Digest::of(b"module").0;
    for kind in [SuspensionKind::Job, SuspensionKind::Module, SuspensionKind::Account] {
        let mut world = World::with_hosts(1);
        let job = world.quorum(4);
        let subject = match kind {
            SuspensionKind::Job => job.0,
            SuspensionKind::Module => module,
            _ => account(2).0,
        };
        let lease = world.lease(3).remove(0);
        world.suspend(kind, subject);
        assert_eq!(world.progress(3, &lease).stop, [lease.attempt]);
        world.restart();
        world.pass(200 * SECOND);
        assert_eq!(world.state(job), JobState::Suspended);
        assert_eq!(world.store.granted(account(2)), 100_000_000);
        let mut other = manifest(4, Policy::Quorum { n: 2 });
        other.seed = if kind == SuspensionKind::Job { other.seed } else { [1; 32] };
        let refused = world.refused(World::submission(&other));
        assert!(matches!(refused, Refusal::Suspended { .. }), "{refused}");
        let by = OPERATOR;
        world.send(Command::Lift { by, kind, subject, reason: String::new(), once: None });
        world.submit(&other_nonce(&other));
    }
}

fn other_nonce(manifest: &tallymill_protocol::Manifest) -> tallymill_protocol::Manifest {
    tallymill_protocol::Manifest { nonce: tallymill_protocol::Nonce([5; 16]), ..manifest.clone() }
}

#[test]
fn a_suspended_hosts_leases_are_stopped_and_its_tasks_go_to_others() {
    let mut world = World::with_hosts(2);
    let job = world.quorum(1);
    let lease = world.lease(3).remove(0);
    world.suspend(SuspensionKind::Host, host(3).0);
    assert_eq!(world.progress(3, &lease).stop, [lease.attempt]);
    let answer = world.report_runs(3, &lease, &[(0, Run::stopped(10))]);
    assert_eq!(answer.verdicts, [Verdict::Refused], "the job was not stopped");
    assert!(!world.store.tasks.contains_key(&(job, TaskIndex(0))));
    assert_eq!(world.engine.job(job).unwrap().leased, 0);
}
