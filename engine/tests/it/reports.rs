//! Reports: sequence and replay, what is believed, votes and pay.

use std::sync::Arc;

use tallymill_engine::rows::{JobState, ReplicaState, TaskState};
use tallymill_engine::{Answer, CheckedReceipt};
use tallymill_protocol::work::{Position, Verdict};
use tallymill_protocol::*;

use crate::world::*;

#[test]
fn two_owners_that_agree_decide_and_are_paid_once() {
    let mut world = World::with_hosts(2);
    let job = world.quorum(1);
    let (first, second) = (world.lease(3).remove(0), world.lease(4).remove(0));
    assert_eq!(world.finish(3, &first, Run::honest), [Verdict::Taken]);
    assert_eq!(world.store.available(account(3)), 0);
    assert_eq!(world.finish(4, &second, Run::honest), [Verdict::Settled]);
    // 1,000 fuel at 10⁶ per 10⁹.
    assert_eq!((world.store.available(account(3)), world.store.available(account(4))), (1, 1));
    assert_eq!(world.state(job), JobState::Finished);
    let task = &world.store.tasks[&(job, TaskIndex(0))];
    assert_eq!((task.state, task.fuel, task.host), (TaskState::Final, Some(1_000), Some(host(3))));
    assert_eq!(world.store.hosts[&host(3)].settled, 1);
    let evidence = |row: &tallymill_engine::rows::TransferRow| row.transfer.evidence;
    let last = evidence(
        world.store.transfers.iter().rfind(|row| row.transfer.host == Some(host(4))).unwrap(),
    );
    let receipt = &world.store.replicas[&(job, TaskIndex(0), 0, host(4))].receipt;
    assert_eq!(last, merkle::root(&[merkle::leaf(receipt)]));
}

#[test]
fn the_evidence_of_a_payment_is_in_the_order_of_tasks_whatever_that_of_the_report() {
    let mut world = World::new();
    world.join(2, 2);
    world.submit(&manifest(3, Policy::Trusted));
    let lease = world.lease_wide(2, 3).remove(0);
    let receipts: Vec<_> =
        [2, 0, 1].map(|task| world.receipt(&lease, task, Run::honest(task))).into();
    let leaf = |at: usize| merkle::leaf(&receipts[at].bytes);
    let expected = merkle::root(&[leaf(1), leaf(2), leaf(0)]);
    let report = world.report(2, receipts);
    world.send_report(2, report);
    let paid = world.store.transfers.iter().rfind(|row| row.transfer.host.is_some()).unwrap();
    assert_eq!(paid.transfer.evidence, expected);
}

#[test]
fn a_third_host_breaks_a_tie_and_the_loser_is_not_paid() {
    let mut world = World::with_hosts(3);
    let job = world.quorum(1);
    let (first, second) = (world.lease(3).remove(0), world.lease(4).remove(0));
    world.finish(3, &first, |task| Run::wrong(task, 1));
    assert!(world.reasons(5).contains("no job has tasks that wait"));
    assert_eq!(world.finish(4, &second, Run::honest), [Verdict::Taken]);
    let third = world.lease(5).remove(0);
    assert_eq!(world.finish(5, &third, Run::honest), [Verdict::Settled]);
    assert_eq!(world.store.available(account(3)), 0);
    assert_eq!((world.store.available(account(4)), world.store.available(account(5))), (1, 1));
    let replica = &world.store.replicas[&(job, TaskIndex(0), 0, host(3))];
    assert_eq!(replica.state, ReplicaState::Lost);
    assert_eq!(world.store.hosts[&host(3)].outvoted, 1);
}

#[test]
fn equal_output_with_other_fuel_does_not_agree() {
    let mut world = World::with_hosts(2);
    world.quorum(1);
    let (first, second) = (world.lease(3).remove(0), world.lease(4).remove(0));
    world.finish(3, &first, Run::honest);
    let more = |task| Run { fuel: 2_000, ..Run::honest(task) };
    assert_eq!(world.finish(4, &second, more), [Verdict::Taken]);
}

#[test]
fn equal_output_and_fuel_with_a_dearer_measurement_does_not_agree() {
    let mut world = World::with_hosts(2);
    world.quorum(1);
    let (first, second) = (world.lease(3).remove(0), world.lease(4).remove(0));
    world.finish(3, &first, Run::honest);
    let mut dear = world.receipt(&second, 0, Run::honest(0));
    dear.receipt.memory_fuel += 1;
    dear.bytes = dear.receipt.to_bytes();
    let report = world.report(4, vec![dear]);
    assert_eq!(world.send_report(4, report).verdicts, [Verdict::Taken], "it waits for a third");
}

#[test]
fn results_that_never_agree_fail_the_task_and_cost_nothing() {
    let mut world = World::with_hosts(6);
    let job = world.quorum(1);
    for number in 3..8 {
        let lease = world.lease(number).remove(0);
        world.finish(number, &lease, |task| Run::wrong(task, u64::from(number)));
    }
    let cause = world.cause(job, 0).unwrap();
    assert!(cause.starts_with("results disagree"), "{cause}");
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.store.granted(account(2)), 100_000_000);
}

#[test]
fn a_decided_failure_of_the_guest_fails_the_task_and_pays() {
    let mut world = World::with_hosts(2);
    let job = world.quorum(1);
    let trap = |task| Run { outcome: Outcome::Trapped(Trap::Unreachable), ..Run::honest(task) };
    let (first, second) = (world.lease(3).remove(0), world.lease(4).remove(0));
    world.finish(3, &first, trap);
    world.finish(4, &second, trap);
    assert_eq!(world.cause(job, 0).unwrap(), "trapped: unreachable executed");
    assert_eq!(world.store.jobs[&job].failed_tasks, 1);
    assert_eq!(world.store.available(account(4)), 1);
}

#[test]
fn trusted_results_are_decided_at_once_and_earn_no_standing() {
    let mut world = World::new();
    world.join(2, 2);
    let job = world.submit(&manifest(3, Policy::Trusted));
    world.drain(&[2]);
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.store.granted(account(2)), 100_000_000, "paid back to the payer");
    assert_eq!(world.store.hosts[&host(2)].settled, 0);
}

#[test]
fn a_replay_is_answered_as_before_for_ever() {
    let mut world = World::with_hosts(2);
    world.quorum(2);
    let lease = world.lease_wide(3, 4).remove(0);
    let receipts = (0..2).map(|task| world.receipt(&lease, task, Run::honest(task))).collect();
    let report = world.report(3, receipts);
    let first = world.send_report(3, report.clone());
    assert_eq!(first.verdicts, [Verdict::Taken; 2]);
    let commits = world.store.sequence;
    assert_eq!(world.send_report(3, report.clone()), first);
    assert_eq!(world.store.sequence, commits, "a replay changes nothing");
    world.restart();
    let stale = world.send_report(3, report.clone());
    assert!(stale.verdicts.is_empty() && stale.reason.contains("1 is expected"), "{stale:?}");
    let known = Some(world.store.reports[&report.report.root].verdicts.clone());
    assert_eq!(world.send_report(3, tallymill_engine::CheckedReport { known, ..report }), first);
}

#[test]
fn a_report_out_of_sequence_is_not_looked_at_and_may_be_signed_again() {
    let mut world = World::with_hosts(2);
    world.quorum(1);
    let lease = world.lease(3).remove(0);
    let receipt = world.receipt(&lease, 0, Run::honest(0));
    let good = world.report(3, vec![receipt]);
    let answered = |world: &mut World, change: &dyn Fn(&mut Report)| -> Answer {
        let mut bad = good.clone();
        change(&mut bad.report);
        world.send_report(3, bad)
    };
    for (part, change) in [
        ("sequence: 0 is expected", &(|it: &mut Report| it.sequence = 7) as &dyn Fn(&mut Report)),
        ("sequence: 0 is expected, after 0000", &|it| it.previous = Digest::of(b"x")),
        ("epoch: 9 has not begun", &|it| it.epoch = 9),
        ("count", &|it| it.count = 2),
        ("host", &|it| it.host = host(4)),
    ] {
        let answer = answered(&mut world, change);
        assert!(answer.verdicts.is_empty() && answer.reason.contains(part), "{answer:?}");
        let start = Position { sequence: 0, previous: Digest::ZERO };
        assert_eq!(answer.next, part.starts_with("sequence").then_some(start), "{part}");
    }
    assert_eq!(world.send_report(3, good).verdicts, [Verdict::Taken]);
}

/// The verdict on one receipt after a change, with the reason.
fn judged(change: impl Fn(&mut CheckedReceipt)) -> (Verdict, String) {
    let mut world = World::with_hosts(2);
    world.quorum(2);
    let lease = world.lease_wide(3, 4).remove(0);
    let mut receipt = world.receipt(&lease, 0, Run::honest(0));
    change(&mut receipt);
    receipt.bytes = receipt.receipt.to_bytes();
    let mut report = world.report(3, vec![receipt]);
    report.report.epoch = lease.epoch;
    let answer = world.send_report(3, report);
    assert!(world.store.replicas.is_empty());
    (answer.verdicts[0], answer.reason)
}

fn leased(change: impl Fn(&mut Lease)) -> impl Fn(&mut CheckedReceipt) {
    move |checked| {
        let mut lease = (*checked.lease).clone();
        change(&mut lease);
        checked.lease = Arc::new(lease);
    }
}

#[test]
fn a_receipt_that_cannot_be_believed_is_refused_with_its_reason() {
    let refused = |change: &dyn Fn(&mut CheckedReceipt), part: &str| {
        let (verdict, reason) = judged(change);
        assert_eq!(verdict, Verdict::Refused, "{part}");
        assert!(reason.contains(part), "{reason} lacks {part}");
    };
    refused(&|it| it.refused = Some("output: missing".into()), "output: missing");
    refused(&|it| it.receipt.task = TaskIndex(2), "not a task of its lease");
    refused(&|it| it.receipt.module = Digest::ZERO, "module");
    refused(&|it| it.receipt.fuel = 1_000_001, "fuel: above the limit");
    refused(&|it| it.receipt.bytes_out = u64::MAX, "bytes_out");
    refused(&|it| it.receipt.bytes_in = 22, "bytes_in");
    refused(&|it| it.receipt.peak_memory = u64::MAX, "peak_memory");
    refused(&|it| it.receipt.memory_fuel = u64::MAX, "memory_fuel");
    refused(&|it| it.receipt.outcome = Outcome::Stopped, "nobody stopped");
    let (index, before, fuel_before, fuel_after) = (0, Digest::ZERO, 0, 0);
    let segment = Segment { index, before, after: before, fuel_before, fuel_after };
    refused(&|it| it.receipt.segment = Some(segment), "segment");
    refused(&leased(|it| it.host = host(4)), "another host");
    refused(&leased(|it| it.coordinator = CoordinatorId([0; 32])), "another coordinator");
    refused(&leased(|it| it.network = Network::new("x").unwrap()), "another network");
    refused(&leased(|it| it.epoch = 7), "another epoch");
    refused(&leased(|it| it.versions.meter = 9), "versions");
    refused(&leased(|it| it.limits.log = 9), "limits");
    refused(&leased(|it| it.tariff.fuel = 9), "tariff");
    refused(&leased(|it| (it.owner, it.payer) = (account(2), account(2))), "payer");
}

#[test]
fn the_same_task_twice_in_a_report_counts_once() {
    let mut world = World::with_hosts(2);
    world.quorum(2);
    let lease = world.lease_wide(3, 4).remove(0);
    let answer = world.report_runs(3, &lease, &[(0, Run::honest(0)), (0, Run::honest(0))]);
    assert_eq!(answer.verdicts, [Verdict::Taken, Verdict::Refused]);
    assert!(answer.reason.contains("twice in one report"));
    let again = world.report_runs(3, &lease, &[(0, Run::honest(0)), (1, Run::honest(1))]);
    assert_eq!(again.verdicts, [Verdict::Superseded, Verdict::Taken], "an owner votes once");
}

#[test]
fn a_refused_task_goes_to_somebody_else_at_once() {
    let mut world = World::with_hosts(3);
    world.quorum(1);
    let (first, _second) = (world.lease(3).remove(0), world.lease(4).remove(0));
    let bad = |task| Run { fuel: u64::MAX, ..Run::honest(task) };
    assert_eq!(world.finish(3, &first, bad), [Verdict::Refused]);
    assert_eq!(world.lease(5).len(), 1);
}

#[test]
fn a_late_result_is_taken_while_its_slot_is_open_and_superseded_after() {
    let mut world = World::with_hosts(4);
    let job = world.quorum(2);
    let late = world.lease_wide(3, 4).remove(0);
    world.pass(120 * SECOND);
    assert_eq!(world.store.hosts[&host(3)].abandoned, 2);
    assert!(world.store.leases.is_empty());
    assert_eq!(world.report_runs(3, &late, &[(0, Run::honest(0))]).verdicts, [Verdict::Taken]);
    world.drain(&[4, 5]);
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.report_runs(3, &late, &[(1, Run::honest(1))]).verdicts, [Verdict::Superseded]);
    assert_eq!(world.store.available(account(3)), 1);
}

#[test]
fn compiling_is_paid_once_per_host_also_after_a_restart() {
    let mut world = World::with_hosts(2);
    let mut manifest = manifest(4, Policy::Quorum { n: 2 });
    manifest.tariff.compile = 100;
    world.submit(&manifest);
    let (a, b) = (world.lease(3), world.lease(4));
    world.finish(3, &a[0], Run::honest);
    world.finish(4, &b[0], Run::honest);
    assert_eq!(world.store.available(account(3)), 101);
    world.restart();
    world.drain(&[3, 4]);
    let rest: i64 = 2 + 2 + 2;
    assert_eq!(world.store.available(account(3)), 101 + rest);
}
