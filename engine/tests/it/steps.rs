//! Long tasks: segments are voted on and paid one by one, and any host goes on from where hosts agreed.

use tallymill_engine::rows::{JobState, ReplicaState, TaskState};
use tallymill_engine::{Ask, Command, Reply};
use tallymill_ledger::{RANGE_INPUT_MAX, most_per_result};
use tallymill_protocol::work::{Verdict, VoidCause};
use tallymill_protocol::*;

use crate::chains::*;
use crate::world::*;

/// A world with hosts from number 3 on and a long job of one task, two of them must agree.
fn one_task(hosts: u8) -> (World, JobId) {
    let mut world = World::with_hosts(hosts);
    let job = world.submit(&stepped(1, Policy::Quorum { n: 2 }));
    (world, job)
}

#[test]
fn segments_are_paid_one_by_one_and_the_last_decides_the_task() {
    let (mut world, job) = one_task(2);
    world.pass_segment([3, 4]);
    // 2²² fuel at 10⁶ per 10⁹, rounded up.
    assert_eq!(
        (world.store.available(account(3)), world.store.available(account(4))),
        (4_195, 4_195)
    );
    assert_eq!(world.state(job), JobState::Running);
    assert!(world.store.tasks.is_empty());
    let row = &world.store.segments[&(job, TaskIndex(0), 0)];
    assert_eq!((row.root, row.fuel, row.host), (root(0, 0), SEGMENT, host(3)));
    assert_eq!((row.snapshot, row.length), (snapshot(0, 0), 70_000));
    world.pass_segment([4, 3]);
    assert_eq!(world.state(job), JobState::Finished);
    let task = &world.store.tasks[&(job, TaskIndex(0))];
    assert_eq!((task.state, task.fuel), (TaskState::Final, Some(SEGMENT + 1_000)));
    assert_eq!((task.segment, task.host), (1, Some(host(4))));
    assert_eq!(task.output, Some(Digest::of(&0u64.to_be_bytes())));
    assert_eq!(world.store.jobs[&job].fuel, SEGMENT + 1_000);
    assert_eq!(world.store.available(account(3)), 4_195 + 1);
    let states = world.store.replicas.values().map(|row| row.state);
    assert_eq!(states.collect::<Vec<_>>(), [ReplicaState::Final; 4]);
    assert_eq!(world.store.hosts[&host(3)].settled, 2);
}

#[test]
fn a_lease_is_over_one_task_and_says_where_it_stands() {
    let mut world = World::with_hosts(2);
    world.submit(&stepped(3, Policy::Quorum { n: 2 }));
    let (first, second) = (world.give(3, 4), world.give(4, 4));
    let tasks = |given: &[Given]| given.iter().map(|(_, start)| start.task.0).collect::<Vec<_>>();
    assert_eq!((tasks(&first), tasks(&second)), (vec![0, 1, 2], vec![0, 1, 2]));
    let start = first[1].1;
    assert_eq!((start.index, start.root, start.fuel), (0, Digest::ZERO, 0));
    assert_eq!((start.snapshot, start.length), (None, 0));
    world.go(3, &first[1]);
    world.go(4, &second[1]);
    let next = world.give(3, 1).remove(0).1;
    assert_eq!((next.task, next.index, next.root), (TaskIndex(1), 1, root(1, 0)));
    assert_eq!((next.fuel, next.snapshot, next.length), (SEGMENT, Some(snapshot(1, 0)), 70_001));
}

#[test]
fn a_job_of_commands_says_nothing_about_states() {
    let mut world = World::with_hosts(1);
    world.quorum(4);
    let answer = world.work(3, World::ask(), Vec::new());
    assert!(answer.grants[0].states.is_empty());
}

#[test]
fn a_receipt_that_does_not_go_on_where_its_task_stands_is_refused_with_its_reason() {
    let refused = |change: fn(&mut Receipt), part: &str| {
        let (mut world, _) = one_task(2);
        world.pass_segment([3, 4]);
        let given = world.give(3, 1).remove(0);
        world.now = world.now.plus(SECOND);
        let told = world.tell(3, &given, change);
        assert_eq!(told.0, Verdict::Refused, "{part}");
        assert!(told.1.contains(part), "{} lacks {part}", told.1);
        assert_eq!(world.give(4, 1).len(), 1, "it goes to somebody else at once");
    };
    fn segment(receipt: &mut Receipt) -> &mut Segment {
        receipt.segment.as_mut().unwrap()
    }
    fn paused(receipt: &mut Receipt, fuel: u64) {
        (receipt.outcome, receipt.fuel, receipt.memory_fuel) = (Outcome::Paused, fuel, 0);
        segment(receipt).fuel_after = SEGMENT + fuel;
    }
    refused(|it| it.segment = None, "have segments");
    refused(|it| segment(it).index = 2, "not the next one");
    refused(|it| segment(it).before = Digest::ZERO, "another state root");
    refused(|it| segment(it).fuel_before -= 1, "another fuel");
    refused(|it| segment(it).fuel_after += 1, "not that of the receipt");
    refused(|it| segment(it).fuel_after = 0, "not that of the receipt");
    refused(|it| it.bytes_in = RANGE_INPUT_MAX + 70_001, "bytes_in");
    refused(|it| paused(it, SEGMENT - 1), "paused before");
    refused(|it| paused(it, 9 * SEGMENT), "above the limit of its task");
    refused(
        |it| {
            paused(it, SEGMENT);
            it.bytes_out = snapshot::max_len(&stepped(1, Policy::Trusted).limits) + 1;
        },
        "longest snapshot",
    );
    refused(|it| it.bytes_out = Limits::default().output + 1, "bytes_out: above the limit");
}

#[test]
fn a_whole_task_has_no_segment_and_never_pauses() {
    let mut world = World::with_hosts(2);
    world.quorum(2);
    let (index, before, fuel_before) = (0, Digest::ZERO, 0);
    let segment = Segment { index, before, after: before, fuel_before, fuel_after: 1_000 };
    type Change = fn(&mut Receipt, Segment);
    let changes: [(Change, &str); 2] = [
        (|it, segment| it.segment = Some(segment), "segment: this job has whole tasks only"),
        (|it, _| it.outcome = Outcome::Paused, "outcome: this job has whole tasks only"),
    ];
    for (number, (change, reason)) in (3..).zip(changes) {
        let lease = world.lease(number).remove(0);
        let mut receipt = world.receipt(&lease, lease.first.0, Run::honest(lease.first.0));
        change(&mut receipt.receipt, segment);
        receipt.bytes = receipt.receipt.to_bytes();
        let report = world.report(number, vec![receipt]);
        assert!(world.send_report(number, report).reason.contains(reason));
    }
}

#[test]
fn votes_on_a_segment_compare_its_roots_and_the_snapshot() {
    let changes: [fn(&mut Receipt); 4] = [
        |it| it.segment.as_mut().unwrap().after = Digest::ZERO,
        |it| it.output = Digest::ZERO,
        |it| it.bytes_in -= 1,
        |it| it.peak_memory += 65_536,
    ];
    for change in changes {
        let (mut world, job) = one_task(3);
        let [a, b] = [3, 4].map(|number| world.give(number, 1).remove(0));
        world.go(3, &a);
        assert_eq!(world.tell(4, &b, change).0, Verdict::Taken, "it waits for a third");
        let third = world.give(5, 1).remove(0);
        assert_eq!(world.go(5, &third), Verdict::Settled);
        assert_eq!(world.store.segments[&(job, TaskIndex(0), 0)].root, root(0, 0));
        let lost = &world.store.replicas[&(job, TaskIndex(0), 0, host(4))];
        assert_eq!((lost.state, world.store.hosts[&host(4)].outvoted), (ReplicaState::Lost, 1));
        world.walk(&[3, 4]);
        assert_eq!(world.state(job), JobState::Finished, "who lost a segment may run the next");
    }
}

#[test]
fn a_late_segment_is_taken_while_its_task_stands_there_and_superseded_after() {
    let (mut world, job) = one_task(3);
    let late = world.give(3, 1).remove(0);
    world.pass(120 * SECOND);
    assert_eq!(world.go(3, &late), Verdict::Taken);
    let given = world.give(4, 1).remove(0);
    let running = world.give(5, 1);
    assert!(running.is_empty(), "two are enough");
    assert_eq!(world.go(4, &given), Verdict::Settled);
    assert_eq!(world.tell(4, &given, |_| {}).0, Verdict::Superseded);
    assert_eq!(world.store.available(account(4)), 4_195, "paid once");
    world.walk(&[4, 5]);
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.go(3, &late), Verdict::Superseded);
}

#[test]
fn hosts_that_still_run_an_agreed_segment_are_told_to_stop() {
    let (mut world, job) = one_task(3);
    let late = [3, 4].map(|number| (number, world.give(number, 1).remove(0)));
    world.pass(100 * SECOND);
    let (running, start) = world.give(5, 1).remove(0);
    let verdicts = late.map(|(number, given)| world.go(number, &given));
    assert_eq!(verdicts, [Verdict::Taken, Verdict::Settled]);
    assert_eq!(world.progress(5, &running).stop, [running.attempt]);
    assert!(world.store.leases.is_empty());
    let view = world.engine.job(job).unwrap();
    assert_eq!((view.leased, view.reserved), (0, tallymill_ledger::Amount::ZERO));
    world.restart();
    assert_eq!(world.go(5, &(running, start)), Verdict::Superseded);
    assert_eq!(world.give(5, 1).remove(0).1.index, 1, "it may run the next one");
}

#[test]
fn everything_survives_a_restart_in_the_middle_of_chains() {
    let mut world = World::with_hosts(3);
    let job = world.submit(&stepped(6, Policy::Quorum { n: 2 }));
    for number in [3, 4] {
        for given in world.give(number, 4) {
            world.go(number, &given);
        }
    }
    let held = world.give(3, 2);
    let mut rest = world.give(4, 1);
    let voted = rest.remove(0);
    assert_eq!((voted.1.index, held[0].1.index), (1, 1));
    assert!(held.iter().any(|(_, start)| start.index == 0), "and tasks that have not begun");
    world.go(4, &voted);
    let before = world.engine.job(job).unwrap();
    world.restart();
    let after = world.engine.job(job).unwrap();
    assert_eq!((after.leased, after.undecided), (before.leased, before.undecided));
    assert_eq!((after.reserved, after.totals), (before.reserved, before.totals));
    assert_eq!((after.untouched, after.waiting), (before.untouched, before.waiting));
    assert!(world.engine.needs_blob(host(3), held[0].1.snapshot.unwrap()));
    for given in &held {
        assert_ne!(world.go(3, given), Verdict::Refused, "of the epoch before");
    }
    for given in &rest {
        assert_ne!(world.go(4, given), Verdict::Refused);
    }
    world.walk(&[3, 4, 5]);
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.store.jobs[&job].final_tasks, 6);
    let fuel: u64 =
        (0..6).map(|task| u64::from(length(task) - 1) * SEGMENT + 1_000 + u64::from(task)).sum();
    assert_eq!(world.store.jobs[&job].fuel, fuel, "as if nothing had been");
}

#[test]
fn a_cancelled_job_pays_what_ran_of_a_segment() {
    let (mut world, job) = one_task(3);
    world.pass_segment([3, 4]);
    let [running, waiting] = [3, 4].map(|number| world.give(number, 1).remove(0));
    world.go(4, &waiting);
    world.cancel(job);
    assert_eq!(world.state(job), JobState::Stopping);
    let stopped = world.tell(3, &running, |it| {
        (it.outcome, it.fuel, it.memory_fuel) = (Outcome::Stopped, 2_000, 0);
        let segment = it.segment.as_mut().unwrap();
        (segment.after, segment.fuel_after) = (Digest::ZERO, SEGMENT + 2_000);
    });
    assert_eq!(stopped.0, Verdict::Settled, "{}", stopped.1);
    assert_eq!(world.state(job), JobState::Cancelled);
    assert_eq!(world.store.available(account(3)), 4_195 + 2);
    assert_eq!(world.store.available(account(4)), 4_195 + 1, "what waited for others is paid too");
    assert_eq!(world.store.granted(account(2)), 100_000_000 - 2 * 4_195 - 3);
    let key = (job, TaskIndex(0), 1, host(3));
    assert_eq!(world.store.replicas[&key].state, ReplicaState::Stopped);
}

#[test]
fn a_segment_that_arrives_while_its_job_stops_is_paid_and_not_gone_on_from() {
    let mut world = World::new();
    world.join(2, 2);
    let job = world.submit(&stepped(1, Policy::Trusted));
    let given = world.give(2, 1).remove(0);
    world.cancel(job);
    assert_eq!(world.go(2, &given), Verdict::Settled);
    assert_eq!(world.state(job), JobState::Cancelled);
    assert!(world.give(2, 1).is_empty());
}

#[test]
fn a_segment_that_its_host_dropped_is_granted_again_where_it_began() {
    let (mut world, _) = one_task(2);
    world.pass_segment([3, 4]);
    let dropped = world.give(3, 1).remove(0);
    let nothing = Ask { held: Some(Vec::new()), ..World::ask() };
    let again = world.work(3, nothing, Vec::new()).grants.remove(0);
    assert_eq!(again.states[..], [dropped.1]);
    assert_ne!(again.lease.attempt, dropped.0.attempt);
}

#[test]
fn a_deadline_ends_a_chain_where_it_stands() {
    let (mut world, job) = one_task(2);
    world.pass_segment([3, 4]);
    world.pass(86_400 * SECOND);
    assert_eq!(world.state(job), JobState::Expired);
    assert_eq!(world.store.granted(account(2)), 100_000_000 - 2 * 4_195);
}

#[test]
fn hosts_that_never_agree_on_a_segment_fail_the_task_and_those_before_stay_paid() {
    let (mut world, job) = one_task(6);
    world.pass_segment([3, 4]);
    for number in 3..8 {
        let given = world.give(number, 1).remove(0);
        let verdict = world.tell(number, &given, |it| it.output = Digest::of(&[number])).0;
        assert_ne!(verdict, Verdict::Refused);
    }
    assert!(world.cause(job, 0).unwrap().starts_with("results disagree"));
    let task = &world.store.tasks[&(job, TaskIndex(0))];
    assert_eq!((task.segment, task.fuel, task.host), (1, None, None));
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.store.available(account(3)), 4_195);
    assert_eq!(world.store.granted(account(2)), 100_000_000 - 2 * 4_195);
}

#[test]
fn what_hosts_gave_up_before_an_agreed_segment_does_not_count_after_it() {
    let (mut world, job) = one_task(4);
    let give_up = |world: &mut World, number| {
        let (lease, _) = world.give(number, 1).remove(0);
        world.void(number, &lease, 0, VoidCause::ChildDied);
        world.pass(31 * SECOND);
    };
    give_up(&mut world, 3);
    world.pass_segment([4, 5]);
    world.pass(SECOND);
    world.restart();
    // One owner of two that fail a task: the other one was before the segment.
    give_up(&mut world, 6);
    assert!(world.store.tasks.is_empty());
    world.restart();
    world.walk(&[4, 5]);
    assert_eq!(world.store.tasks[&(job, TaskIndex(0))].state, TaskState::Final);
}

#[test]
fn two_owners_that_give_a_segment_up_fail_its_task() {
    let (mut world, job) = one_task(4);
    world.pass_segment([3, 4]);
    world.pass(SECOND);
    let [a, b] = [5, 6].map(|number| world.give(number, 1).remove(0).0);
    world.void(5, &a, 0, VoidCause::ChildDied);
    world.void(6, &b, 0, VoidCause::ChildDied);
    assert!(world.cause(job, 0).unwrap().contains("void runs"));
    assert_eq!(world.store.tasks[&(job, TaskIndex(0))].segment, 1);
}

#[test]
fn a_snapshot_is_read_by_hosts_that_begin_from_it_and_by_nobody_before() {
    let (mut world, _) = one_task(3);
    let [a, b] = [3, 4].map(|number| world.give(number, 1).remove(0));
    world.go(3, &a);
    assert!(!world.engine.needs_blob(host(4), snapshot(0, 0)), "its segment is not agreed");
    world.go(4, &b);
    assert!(!world.engine.needs_blob(host(5), snapshot(0, 0)), "no lease needs it");
    world.give(5, 1);
    assert!(world.engine.needs_blob(host(5), snapshot(0, 0)));
    assert!(!world.engine.needs_blob(host(4), snapshot(0, 0)));
    assert!(!world.engine.needs_blob(host(5), snapshot(0, 1)));
}

#[test]
fn a_chain_that_uses_all_its_fuel_is_covered_by_its_cap_and_reserves_what_is_left() {
    let mut world = World::with_hosts(2);
    let mut manifest = stepped(1, Policy::Quorum { n: 2 });
    manifest.tariff = Tariff { task: 7, compile: 11, ..Tariff::default() };
    let one = most_per_result(&manifest, RANGE_INPUT_MAX, true).unwrap().micros();
    manifest.budget = u64::try_from(2 * one).unwrap();
    let job = world.submit(&manifest);
    let full = |it: &mut Receipt| {
        let segment = it.segment.as_mut().unwrap();
        let fuel = if segment.index == 9 { SEGMENT - 1 } else { SEGMENT };
        (it.fuel, it.memory_fuel, segment.fuel_after) = (fuel, 0, segment.fuel_before + fuel);
        if segment.index < 9 {
            (it.outcome, it.output, it.bytes_out) =
                (Outcome::Paused, snapshot(0, segment.index), 9);
        } else {
            (it.outcome, it.output, it.bytes_out) = (Outcome::FuelExhausted, Digest::ZERO, 0);
        }
        segment.after = root(0, segment.index);
    };
    let mut reserved = world.engine.job(job).unwrap().reserved;
    for index in 0..10 {
        let given = [3, 4].map(|number| (number, world.give(number, 1).remove(0)));
        let now = world.engine.job(job).unwrap().reserved;
        assert!(index == 0 || now < reserved, "less fuel is left, so less is reserved");
        reserved = now;
        for (number, given) in &given {
            let (verdict, reason) = world.tell(*number, given, full);
            assert_ne!(verdict, Verdict::Refused, "{reason}");
        }
    }
    assert_eq!(world.cause(job, 0).unwrap(), "fuel exhausted");
    assert_eq!(world.store.tasks[&(job, TaskIndex(0))].fuel, Some(10 * SEGMENT - 1));
    let paid = world.store.available(account(3));
    // Each segment costs its fuel rounded up and seven; compiling once.
    assert_eq!(paid, 11 + 10 * (4_195 + 7));
}

#[test]
fn a_budget_that_is_reserved_holds_further_tasks_back() {
    let mut world = World::with_hosts(2);
    let mut manifest = stepped(2, Policy::Quorum { n: 2 });
    let one = most_per_result(&manifest, RANGE_INPUT_MAX, true).unwrap().micros();
    manifest.budget = u64::try_from(2 * one).unwrap();
    let job = world.submit(&manifest);
    let first = world.give(3, 4);
    assert_eq!(first.len(), 2, "two segments at their limits");
    assert_eq!(world.give(4, 4).len(), 0);
    let reasons = world.work(4, Ask { slots: 4, ..World::ask() }, Vec::new()).reasons.join("; ");
    assert!(reasons.contains("budget reserved"), "{reasons}");
    assert!(world.engine.job(job).unwrap().why.iter().any(|why| why.contains("budget reserved")));
    manifest.budget = u64::try_from(2 * one - 1).unwrap();
    manifest.nonce = Nonce([1; 16]);
    let refused = world.send(World::submission(&manifest));
    assert!(matches!(refused, Some(Reply::Refused(tallymill_engine::Refusal::Budget { .. }))));
}

#[test]
fn own_machines_run_trusted_chains_alone() {
    let mut world = World::new();
    world.join(2, 2);
    let job = world.submit(&stepped(3, Policy::Trusted));
    world.walk(&[2]);
    assert_eq!(world.state(job), JobState::Finished);
    let lengths: usize = (0..3).map(|task| length(task) as usize).sum();
    assert_eq!(world.store.replicas.len(), lengths);
    assert_eq!(world.store.segments.len(), lengths - 3);
}

#[test]
fn a_suspended_job_stops_between_two_segments() {
    let (mut world, job) = one_task(2);
    world.pass_segment([3, 4]);
    world.suspend(tallymill_engine::rows::SuspensionKind::Job, job.0);
    assert_eq!(world.state(job), JobState::Suspended);
    let answer = world.send(world.call(3, World::ask(), Vec::new()));
    assert!(matches!(answer, Some(Reply::Work(answer)) if answer.grants.is_empty()));
    let by = account(2);
    let cancel = Command::Cancel { job, by, reason: String::new(), once: None };
    assert!(matches!(world.send(cancel), Some(Reply::Refused(_))));
}
