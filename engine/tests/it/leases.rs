//! Leases: sizes, separation of owners, fair turns, and a reason for every refusal.

use tallymill_engine::rows::{JobState, SuspensionKind};
use tallymill_engine::{Ask, Command, Reply};
use tallymill_ledger::Amount;
use tallymill_protocol::cbor::{List, Text};
use tallymill_protocol::work::{Accept, Progress, Verdict};
use tallymill_protocol::{Lease, Nonce, Policy};

use crate::world::*;

#[test]
fn hundreds_of_jobs_that_nobody_may_run_do_not_starve_another_payer() {
    let mut world = World::with_hosts(1);
    world.grant(4, 100 * Amount::CREDIT);
    let mut other = manifest(80, Policy::Quorum { n: 2 });
    (other.payer, other.submitter) = (account(4), account(4));
    let job = world.submit(&other);
    let lease = world.lease(3).remove(0);
    world.finish(3, &lease, Run::honest);
    // Their payer has used nothing yet, so it comes first.
    for nonce in 0..600u16 {
        let mut one = manifest(1, Policy::Quorum { n: 2 });
        one.nonce.0[..2].copy_from_slice(&nonce.to_be_bytes());
        one.requirements.features = List(vec![Text("rare".into())]);
        world.post(World::submission(&one));
    }
    world.flush();
    let lease = world.lease(3).remove(0);
    assert_eq!(lease.job, job);
}

#[test]
fn a_first_lease_is_a_probe_and_later_ones_grow_at_most_eightfold() {
    let mut world = World::with_hosts(2);
    world.quorum(4_000);
    let probe = world.lease(3).remove(0);
    assert_eq!(probe.count, 4);
    world.finish(3, &probe, |task| Run { fuel: 1_000, ..Run::honest(task) });
    // A millisecond a task and 200 ms a lease: 200 tasks, reached in steps of eight times.
    let mut sizes = Vec::new();
    for _ in 0..4 {
        let lease = world.lease(3).remove(0);
        sizes.push(lease.count);
        world.finish(3, &lease, Run::honest);
    }
    assert_eq!(sizes[0], 8, "eight times the longest one per slot so far");
    assert_eq!(sizes[1], 64);
    assert_eq!(sizes[2..], [200, 200], "lease time ÷ time of a task");
}

/// A host that asks again and again before anybody has run a task of a job would fill its buffer with probes.
#[test]
fn a_host_holds_two_probes_of_a_job_at_most_but_no_slot_stands_idle() {
    let mut world = World::with_hosts(2);
    let unknown = world.quorum(4_000);
    let probes = [world.lease(3).remove(0), world.lease(3).remove(0)];
    assert_eq!(probes.each_ref().map(|lease| lease.count), [4, 4]);
    assert!(world.reasons(3).ends_with("its first result is awaited"));
    assert_eq!(world.lease_wide(3, 12)[0].count, 4, "twelve slots with eight tasks");
    assert_eq!(world.lease(4).len(), 1, "another host has its own probes");
    let other = world.quorum(300);
    let more = world.lease(3).remove(0);
    assert_eq!((more.job, more.count), (other, 4), "another job is another matter");
    world.finish(3, &probes[0], |task| Run { fuel: 1_000, ..Run::honest(task) });
    let sizes: Vec<_> = (0..3).flat_map(|_| world.lease(3)).map(|it| (it.job, it.count)).collect();
    assert!(sizes.contains(&(unknown, 8)), "the first result tells how long they take: {sizes:?}");
}

#[test]
fn lease_time_follows_the_round_trip_up_to_the_buffer() {
    let mut world = World::with_hosts(2);
    world.quorum(8_000);
    for _ in 0..5 {
        let lease = world.lease(3).remove(0);
        world.finish(3, &lease, Run::honest);
    }
    let ask = |round_trip, buffer| Ask { round_trip, buffer, ..World::ask() };
    let mut sized = |ask| {
        let lease = world.work(3, ask, Vec::new()).grants.remove(0).lease;
        world.finish(3, &lease, Run::honest);
        lease.count
    };
    assert_eq!(sized(ask(100_000, 10 * SECOND)), 300);
    assert_eq!(sized(ask(100_000, 50_000)), 50);
}

#[test]
fn a_full_buffer_gets_nothing_but_an_idle_slot_does() {
    let mut world = World::with_hosts(2);
    world.quorum(4_000);
    let lease = world.lease(3).remove(0);
    world.finish(3, &lease, |task| Run { fuel: 400_000, ..Run::honest(task) });
    let small = Ask { buffer: 1_000, ..World::ask() };
    assert_eq!(world.work(3, small.clone(), Vec::new()).grants.len(), 1);
    let answer = world.work(3, small.clone(), Vec::new());
    assert_eq!(answer.reasons, ["the buffer is full"]);
    let wide = Ask { slots: 3, ..small };
    assert_eq!(world.work(3, wide, Vec::new()).grants[0].lease.count, 2, "two slots are idle");
}

#[test]
fn owners_never_share_a_task() {
    let mut world = World::with_hosts(2);
    world.join(20, 3);
    let job = world.quorum(4);
    let first = world.lease_wide(3, 4).remove(0);
    assert_eq!((first.first.0, first.count), (0, 4));
    assert!(world.reasons(20).contains("another owner"));
    world.finish(3, &first, Run::honest);
    assert!(world.reasons(20).contains("another owner"));
    let second = world.lease_wide(4, 4).remove(0);
    assert_eq!((second.first.0, second.count), (0, 4));
    world.finish(4, &second, Run::honest);
    assert_eq!(world.store.jobs[&job].final_tasks, 4);
}

#[test]
fn neighbours_share_a_task_only_after_a_wait_and_that_is_recorded() {
    let mut world = World::with_hosts(2);
    let job = world.quorum(1);
    let first = world.work_from(1, 3, Vec::new()).grants.remove(0).lease;
    let answer = world.work_from(1, 4, Vec::new());
    assert!(answer.reasons[0].contains("another neighbourhood"), "{:?}", answer.reasons);
    world.pass(31 * SECOND);
    let second = world.work_from(1, 4, Vec::new()).grants.remove(0).lease;
    let recorded = |world: &World, lease: &Lease| {
        let row = &world.store.leases[&lease.attempt];
        (row.near, row.relaxed)
    };
    assert_eq!(recorded(&world, &first), (Some([1; 8]), false));
    assert_eq!(recorded(&world, &second), (Some([1; 8]), true));
    world.finish(3, &first, Run::honest);
    let waits = world.store.replicas.values().next().unwrap();
    assert_eq!((waits.near, waits.relaxed), (Some([1; 8]), false), "where its lease was given");
    world.finish(4, &second, Run::honest);
    assert_eq!(world.state(job), JobState::Finished);
    let told: Vec<_> = world.store.replicas.values().map(|row| (row.near, row.relaxed)).collect();
    assert_eq!(told, [(None, false), (None, true)], "a decided task keeps no neighbourhood");
}

#[test]
fn a_lease_is_relaxed_for_all_of_its_tasks_or_for_none() {
    let mut world = World::with_hosts(3);
    world.submit(&manifest(2, Policy::Quorum { n: 3 }));
    // A neighbour of the last host is at the first task, one that tells no neighbourhood at both.
    world.work_from(1, 3, Vec::new());
    assert_eq!((world.lease(4).len(), world.lease(4).len()), (1, 1));
    world.pass(31 * SECOND);
    let mut told = Vec::new();
    for _ in 0..2 {
        let ask = Box::new(Ask { slots: 4, ..World::ask() });
        let (host, neighbourhood) = (host(5), Some([1; 8]));
        let call = Command::Work { host, neighbourhood, ask, reports: Vec::new() };
        let Some(Reply::Work(answer)) = world.send(call) else { panic!("no answer") };
        let lease = &answer.grants[0].lease;
        let relaxed = world.store.leases[&lease.attempt].relaxed;
        told.push((lease.first.0, lease.count, relaxed));
    }
    assert_eq!(told, [(0, 1, true), (1, 1, false)]);
}

#[test]
fn a_late_result_of_a_neighbour_is_recorded_as_one() {
    let mut world = World::with_hosts(2);
    world.quorum(1);
    let late = world.work_from(1, 3, Vec::new()).grants.remove(0).lease;
    world.pass(3_600 * SECOND);
    let next = world.work_from(1, 4, Vec::new()).grants.remove(0).lease;
    world.finish(4, &next, Run::honest);
    let receipt = world.receipt(&late, 0, Run::honest(0));
    let report = world.report(3, vec![receipt]);
    world.work_from(1, 3, vec![report]);
    let told: Vec<_> = world.store.replicas.values().map(|row| (row.host, row.relaxed)).collect();
    assert_eq!(told, [(host(3), true), (host(4), false)]);
}

#[test]
fn a_payers_own_hosts_run_only_its_trusted_jobs() {
    let mut world = World::with_hosts(1);
    world.join(2, 2);
    let quorum = world.quorum(1);
    assert!(world.reasons(2).contains("only its trusted jobs"));
    world.cancel(quorum);
    world.submit(&manifest(1, Policy::Trusted));
    assert!(world.reasons(3).contains("their payer's own hosts"));
    assert_eq!(world.lease(2).len(), 1);
}

fn refused_by(change: impl Fn(&mut Ask)) -> String {
    let mut world = World::with_hosts(1);
    let mut manifest = manifest(1, Policy::Quorum { n: 2 });
    manifest.tags = List(vec![Text("maths".into())]);
    manifest.requirements.features = List(vec![Text("simd".into())]);
    world.submit(&manifest);
    let mut ask = Ask { features: vec!["simd".into()], ..World::ask() };
    assert_eq!(world.work(3, ask.clone(), Vec::new()).grants.len(), 1);
    let mut world = World::with_hosts(1);
    world.submit(&manifest);
    change(&mut ask);
    let answer = world.work(3, ask, Vec::new());
    assert!(answer.grants.is_empty());
    answer.reasons.join("; ")
}

#[test]
fn every_rule_of_an_owner_is_honoured_and_named() {
    let contains = |text: String, part: &str| assert!(text.contains(part), "{text}");
    let module = tallymill_protocol::Digest::of(b"module");
    let accept = |accept: Accept| move |ask: &mut Ask| ask.accept = accept.clone();
    let other = List(vec![account(8)]);
    contains(
        refused_by(accept(Accept { submitters: other, ..Accept::default() })),
        "other submitters",
    );
    let payer = List(vec![account(2)]);
    let rule = Accept { refused_submitters: payer, ..Accept::default() };
    contains(refused_by(accept(rule)), "refuses its submitter");
    let tags = List(vec![Text("music".into())]);
    contains(refused_by(accept(Accept { tags, ..Accept::default() })), "other tags");
    let refused_tags = List(vec![Text("maths".into())]);
    contains(refused_by(accept(Accept { refused_tags, ..Accept::default() })), "one of its tags");
    let modules = List(vec![tallymill_protocol::Digest::ZERO]);
    contains(refused_by(accept(Accept { modules, ..Accept::default() })), "other modules");
    let refused_modules = List(vec![module]);
    contains(refused_by(accept(Accept { refused_modules, ..Accept::default() })), "its module");
    contains(refused_by(|ask| ask.min_tariff = 1_000_001), "tariff");
    contains(refused_by(|ask| ask.features.clear()), "feature 'simd'");
    contains(refused_by(|ask| ask.slots = 0), "no free slot");
    contains(refused_by(|ask| ask.buffer = 0), "asks for nothing");
}

#[test]
fn suspensions_keep_leases_back_with_their_reason() {
    let mut world = World::with_hosts(2);
    world.quorum(4);
    world.suspend(SuspensionKind::Host, host(3).0);
    assert_eq!(world.reasons(3), "this host is suspended: because");
    world.suspend(SuspensionKind::Account, account(4).0);
    assert_eq!(world.reasons(4), "the owner's account is suspended: because");
}

#[test]
fn leasing_stops_when_the_budget_is_reserved() {
    let mut world = World::with_hosts(2);
    let mut manifest = manifest(10, Policy::Quorum { n: 2 });
    // Six results at their limit of 1,000 micro-credits.
    manifest.budget = 6_000;
    let job = world.submit(&manifest);
    let first = world.lease_wide(3, 8).remove(0);
    assert_eq!(first.count, 6);
    assert!(world.reasons(4).contains("budget reserved"));
    assert!(world.engine.job(job).unwrap().why[0].contains("budget reserved"));
    // Results cost far less than their limit: the rest of what was reserved is free again.
    world.finish(3, &first, Run::honest);
    assert_eq!(world.lease_wide(4, 8).len(), 1);
}

#[test]
fn payers_take_turns_by_fuel_and_priority_and_age_decide_within_one() {
    let mut world = World::with_hosts(1);
    world.grant(5, 50_000_000);
    let job = |payer: u8, nonce: u8, priority: u8| {
        let mut manifest = manifest(100, Policy::Quorum { n: 2 });
        manifest.payer = account(payer);
        manifest.submitter = account(payer);
        manifest.nonce = Nonce([nonce; 16]);
        manifest.priority = priority;
        manifest
    };
    let low = world.submit(&job(2, 1, 1));
    let high = world.submit(&job(2, 2, 9));
    let newer = world.submit(&job(2, 3, 9));
    let other = world.submit(&job(5, 4, 0));
    let mut turns = Vec::new();
    // A buffer of a millisecond: one task a call.
    let ask = || Ask { buffer: 1_000, ..World::ask() };
    for _ in 0..4 {
        let lease = world.work(3, ask(), Vec::new()).grants.remove(0).lease;
        turns.push(lease.job);
        world.finish(3, &lease, |task| Run { fuel: 1_000, ..Run::honest(task) });
    }
    assert_eq!(turns, [high, other, high, other]);
    world.cancel(high);
    let lease = world.work(3, ask(), Vec::new()).grants.remove(0).lease;
    assert_eq!(lease.job, newer);
    assert_ne!(lease.job, low);
}

#[test]
fn a_job_says_why_its_tasks_wait() {
    let mut world = World::with_hosts(1);
    let job = world.quorum(4);
    let why = world.engine.job(job).unwrap().why;
    assert_eq!(why, ["needs 2 owners that are not its payer, 1 online"]);
    world.join(4, 4);
    assert_eq!(world.engine.job(job).unwrap().why, ["waits for hosts with free slots"]);
}

#[test]
fn too_few_owners_are_told_of_before_a_job_is_there() {
    let mut world = World::with_hosts(1);
    let quorum = manifest(4, Policy::Quorum { n: 2 });
    // The payer's own hosts do not count, nor do those that get no leases.
    world.join(2, 2);
    let few = Some("needs 2 owners that are not its payer, 1 online".to_owned());
    assert_eq!(world.engine.too_few(&quorum), few);
    world.join(4, 4);
    assert_eq!(world.engine.too_few(&quorum), None);
    world.suspend(SuspensionKind::Host, host(4).0);
    assert_eq!(world.engine.too_few(&quorum), few);
    world.join(5, 5);
    world.suspend(SuspensionKind::Account, account(5).0);
    assert_eq!(world.engine.too_few(&quorum), few);
    assert_eq!(world.engine.too_few(&manifest(1, Policy::Trusted)), None);
    world.pass(61 * SECOND);
    let none = Some("needs a host of its payer: none is online".to_owned());
    assert_eq!(world.engine.too_few(&manifest(1, Policy::Trusted)), none);
}

/// Lets time pass with a heartbeat every 20 s that says what `fuel` gives; how long the lease was held, in seconds.
fn held_for(world: &mut World, lease: &Lease, mut fuel: impl FnMut(u64) -> u64) -> u64 {
    let mut passed = 0;
    while passed < 60_000 && world.heartbeat(3, lease, fuel(passed)).stop.is_empty() {
        world.pass(20 * SECOND);
        passed += 20;
    }
    passed
}

#[test]
fn heartbeats_alone_do_not_renew_a_lease_for_ever() {
    let mut world = World::with_hosts(2);
    world.quorum(1);
    let lease = world.lease(3).remove(0);
    let term = lease.expiry.since(lease.issued) / SECOND;
    // It ran for a while, then it hung.
    let held = held_for(&mut world, &lease, |passed| passed.min(7_200));
    assert!((10_800..=10_800 + term + 20).contains(&held), "{held}");
    assert_eq!(world.store.hosts[&host(3)].abandoned, 1);
    assert_eq!(world.lease(4).len(), 1);
}

#[test]
fn a_lease_that_moves_is_renewed_whatever_it_takes() {
    let mut world = World::with_hosts(1);
    world.quorum(1);
    let lease = world.lease(3).remove(0);
    // A slow machine whose fuel grows every fifty minutes.
    assert_eq!(held_for(&mut world, &lease, |passed| passed / 3_000), 60_000);
    assert_eq!(world.store.hosts[&host(3)].abandoned, 0);
}

#[test]
fn a_lease_that_waits_behind_one_that_moves_is_renewed() {
    let mut world = World::with_hosts(1);
    world.quorum(8);
    let leases = [world.lease(3).remove(0), world.lease(3).remove(0)];
    let beat = |world: &mut World, fuel: u64| {
        let entry =
            |(lease, fuel): (&Lease, u64)| Progress { attempt: lease.attempt, tasks: 0, fuel };
        let progress = leases.iter().zip([fuel, 0]).map(entry).collect();
        world.work(3, Ask { progress, ..Ask::default() }, Vec::new()).stop
    };
    for round in 1..1_000 {
        assert!(beat(&mut world, round).is_empty(), "round {round}");
        world.pass(20 * SECOND);
    }
    assert_eq!(world.store.hosts[&host(3)].abandoned, 0);
    // Once nothing moves, both lapse.
    let held = (0..1_000).take_while(|_| {
        world.pass(20 * SECOND);
        beat(&mut world, 1_000).is_empty()
    });
    assert!((180..200).contains(&held.count()));
}

#[test]
fn receipts_are_progress_too() {
    let mut world = World::with_hosts(1);
    world.quorum(600);
    let lease = world.lease(3).remove(0);
    assert_eq!(lease.count, 4);
    let beats = |world: &mut World| {
        for _ in 0..150 {
            assert!(world.heartbeat(3, &lease, 0).stop.is_empty());
            world.pass(20 * SECOND);
        }
    };
    beats(&mut world);
    world.report_runs(3, &lease, &[(0, Run::honest(0))]);
    beats(&mut world);
}

#[test]
fn a_lease_that_could_not_be_handed_out_is_nobodys_fault() {
    let mut world = World::with_hosts(1);
    let job = world.quorum(4);
    for _ in 0..5 {
        let lease = world.lease_wide(3, 4).remove(0);
        assert_eq!(lease.count, 4);
        let returned = world.send(Command::ReturnLease { attempt: lease.attempt });
        assert!(matches!(returned, Some(Reply::Done { .. })));
        let unknown = world.send(Command::ReturnLease { attempt: lease.attempt });
        assert!(matches!(unknown, Some(Reply::Done { .. })), "twice changes nothing");
    }
    assert_eq!(world.store.hosts[&host(3)].abandoned, 0);
    assert_eq!(world.engine.job(job).unwrap().reserved.micros(), 0);
    assert!(world.store.leases.is_empty());
}

/// A call that says what the host holds.
fn holding(leases: &[&Lease]) -> Ask {
    Ask { held: Some(leases.iter().map(|lease| lease.attempt).collect()), ..World::ask() }
}

#[test]
fn what_a_host_does_not_hold_is_granted_again_at_once() {
    let mut world = World::with_hosts(0);
    world.join(2, 2);
    let job = world.submit(&manifest(1, Policy::Trusted));
    world.pass(SECOND);
    let lost = world.lease(2).remove(0);
    let next = world.work(2, holding(&[]), Vec::new()).grants.remove(0).lease;
    assert_ne!(next.attempt, lost.attempt);
    assert_eq!(world.store.leases.keys().collect::<Vec<_>>(), [&next.attempt]);
    assert_eq!(world.store.hosts[&host(2)].abandoned, 1, "it counts against the host");
    assert_eq!(world.finish(2, &next, Run::honest), [Verdict::Settled]);
    assert_eq!(world.store.jobs[&job].state, JobState::Finished);
}

#[test]
fn who_drops_a_task_too_often_gets_it_no_more() {
    let mut world = World::with_hosts(2);
    world.quorum(1);
    world.pass(SECOND);
    world.lease(3);
    for dropped in 1..=config().owner_faults {
        let others_first = world.work(3, holding(&[]), Vec::new()).grants;
        assert!(others_first.is_empty());
        world.pass(31 * SECOND);
        let again = world.lease(3).len();
        assert_eq!(again, usize::from(dropped < config().owner_faults), "after {dropped}");
    }
    world.restart();
    assert!(world.lease(3).is_empty(), "a start counts them too");
    assert_eq!(world.lease(4).len(), 1);
}

#[test]
fn a_lease_whose_grant_a_coordinator_took_with_it_counts_against_nobody() {
    let mut world = World::with_hosts(2);
    world.quorum(1);
    world.pass(SECOND);
    let kept = world.lease(4).remove(0);
    world.lease(3);
    world.restart();
    world.pass(SECOND);
    let next = world.work(3, holding(&[]), Vec::new()).grants.remove(0).lease;
    assert_eq!(world.store.hosts[&host(3)].abandoned, 0);
    world.finish(3, &next, Run::honest);
    assert_eq!(world.finish(4, &kept, Run::honest), [Verdict::Settled]);
}

#[test]
fn what_a_host_holds_or_does_not_speak_of_stays_its_own() {
    let mut world = World::with_hosts(1);
    world.quorum(2);
    let (first, second) = (world.lease(3).remove(0), world.lease(3).remove(0));
    let moving = Progress { attempt: first.attempt, tasks: 0, fuel: 0 };
    let ask = Ask { progress: vec![moving], ..holding(&[&second]) };
    for ask in [World::ask(), holding(&[&first, &second]), ask] {
        world.work(3, ask, Vec::new());
        assert_eq!(world.store.leases.len(), 2);
    }
    world.work(3, holding(&[&first]), Vec::new());
    assert!(!world.store.leases.contains_key(&second.attempt));
    assert!(world.store.leases.contains_key(&first.attempt));
}
