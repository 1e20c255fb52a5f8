//! Waiting for work: a call without anything to say is answered when there is something.

use tallymill_engine::{Ask, Config, Reply};

use crate::world::*;

fn waiting() -> Ask {
    Ask { wait: 20 * SECOND, ..World::ask() }
}

fn answered(world: &mut World, token: u64) -> Option<tallymill_engine::WorkAnswer> {
    match world.replies.remove(&token)? {
        Reply::Work(answer) => Some(answer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_waiting_host_gets_the_work_that_comes() {
    let mut world = World::with_hosts(2);
    let token = world.post(world.call(3, waiting(), Vec::new()));
    world.flush();
    assert!(answered(&mut world, token).is_none());
    assert_eq!(world.engine.network().waiting, 1);
    world.quorum(4);
    assert_eq!(answered(&mut world, token).unwrap().grants.len(), 1);
}

#[test]
fn a_wait_ends_with_the_reasons() {
    let mut world = World::with_hosts(1);
    let token = world.post(world.call(3, waiting(), Vec::new()));
    world.flush();
    assert_eq!(world.engine.poll_timeout(), Some(world.now.plus(20 * SECOND)));
    world.pass(20 * SECOND);
    let answer = answered(&mut world, token).unwrap();
    assert_eq!(answer.reasons, ["no job has tasks that wait"]);
    assert_eq!(world.engine.network().waiting, 0);
}

#[test]
fn a_host_that_would_wait_for_ever_waits_less_than_two_heartbeats() {
    let mut world = World::with_hosts(1);
    world.post(world.call(3, Ask { wait: u64::MAX, ..waiting() }, Vec::new()));
    world.flush();
    assert_eq!(world.engine.poll_timeout(), Some(world.now.plus(50 * SECOND)));
    assert!(50 * SECOND < 2 * config().heartbeat);
}

#[test]
fn hearing_of_a_host_again_and_again_writes_nothing_for_ten_minutes() {
    let mut world = World::with_hosts(1);
    let written = world.store.hosts[&host(3)].seen;
    for _ in 0..11 {
        world.pass(50 * SECOND);
        world.work(3, World::ask(), Vec::new());
        assert_eq!(world.engine.seen(host(3)), Some(world.now));
        assert_eq!(world.store.hosts[&host(3)].seen, written);
    }
    world.pass(50 * SECOND);
    world.work(3, World::ask(), Vec::new());
    assert_eq!(world.store.hosts[&host(3)].seen, world.now);
}

#[test]
fn hosts_are_thought_active_at_a_start_until_they_could_have_called() {
    let mut world = World::with_hosts(2);
    world.pass(540 * SECOND);
    world.work(3, World::ask(), Vec::new());
    assert_eq!(world.engine.network().active, 1);
    world.restart();
    assert_eq!(world.engine.network().active, 2, "rows tell when to within ten minutes");
    world.pass(61 * SECOND);
    world.work(3, World::ask(), Vec::new());
    assert_eq!(world.engine.network().active, 1);
    world.pass(3_600 * SECOND);
    world.restart();
    assert_eq!(world.engine.network().active, 0);
}

#[test]
fn a_second_call_of_a_host_answers_the_first() {
    let mut world = World::with_hosts(1);
    let first = world.post(world.call(3, waiting(), Vec::new()));
    let second = world.post(world.call(3, waiting(), Vec::new()));
    world.flush();
    assert!(answered(&mut world, first).unwrap().grants.is_empty());
    assert!(answered(&mut world, second).is_none());
    assert_eq!(world.engine.network().waiting, 1);
}

#[test]
fn a_host_withdrawn_while_it_waits_gets_nothing() {
    let mut world = World::with_hosts(1);
    let token = world.post(world.call(3, waiting(), Vec::new()));
    world.flush();
    world.send(World::revocation(3, 3));
    world.quorum(4);
    world.pass(20 * SECOND);
    let answer = answered(&mut world, token).unwrap();
    assert!(answer.grants.is_empty(), "{:?}", answer.grants);
    assert_eq!(answer.reasons, ["the owner withdrew this host"]);
}

#[test]
fn waiting_places_are_limited() {
    let mut world = World::with(Config { max_waiting: 1, ..config() });
    world.join(3, 3);
    world.join(4, 4);
    let (first, second) = (
        world.post(world.call(3, waiting(), Vec::new())),
        world.post(world.call(4, waiting(), Vec::new())),
    );
    world.flush();
    assert!(answered(&mut world, first).is_none());
    assert!(answered(&mut world, second).is_some());
}

#[test]
fn a_waiting_host_hears_that_it_must_stop() {
    let mut world = World::with_hosts(1);
    let job = world.quorum(1);
    let lease = world.lease(3).remove(0);
    let token = world.post(world.call(3, waiting(), Vec::new()));
    world.flush();
    assert!(answered(&mut world, token).is_none());
    world.cancel(job);
    assert_eq!(answered(&mut world, token).unwrap().stop, [lease.attempt]);
}

#[test]
fn a_task_that_waited_for_a_better_host_goes_to_a_waiting_one() {
    let mut world = World::with_hosts(3);
    world.quorum(1);
    let lease = world.lease(3).remove(0);
    world.void(3, &lease, 0, tallymill_protocol::work::VoidCause::ChildDied);
    let long = Ask { wait: 30 * SECOND, ..World::ask() };
    world.pass(5 * SECOND);
    let token = world.post(world.call(3, long, Vec::new()));
    world.flush();
    assert!(answered(&mut world, token).is_none());
    assert_eq!(world.engine.poll_timeout(), Some(world.now.plus(25 * SECOND)));
    world.pass(25 * SECOND);
    assert_eq!(answered(&mut world, token).unwrap().grants.len(), 1);
}
