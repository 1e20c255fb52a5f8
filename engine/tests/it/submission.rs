//! Submission: what is refused, what is held, and what a repeated call gives.

use tallymill_engine::rows::JobState;
use tallymill_engine::{Command, Once, Refusal, Reply};
use tallymill_ledger::Amount;
use tallymill_protocol::{CoordinatorId, Digest, Interface, Micros, Nonce, Policy};

use crate::world::*;

const QUORUM: Policy = Policy::Quorum { n: 2 };

fn refusal(change: impl Fn(&mut tallymill_protocol::Manifest)) -> String {
    let mut world = World::new();
    let mut manifest = manifest(4, QUORUM);
    change(&mut manifest);
    let refused = world.refused(World::submission(&manifest)).to_string();
    assert!(world.store.jobs.is_empty() && world.store.transfers.len() == 1, "half done");
    refused
}

#[test]
fn a_job_that_breaks_a_rule_is_refused_with_field_and_next_step() {
    let contains = |text: String, part: &str| assert!(text.contains(part), "{text}");
    contains(refusal(|it| it.priority = 10), "priority");
    contains(refusal(|it| it.network = tallymill_protocol::Network::new("x").unwrap()), "network");
    contains(refusal(|it| it.coordinators.0 = vec![CoordinatorId([8; 32])]), "coordinators");
    contains(refusal(|it| it.deadline = Micros(5)), "deadline");
    contains(refusal(|it| it.interface = Interface::Step), "interface");
    contains(refusal(|it| it.payer = account(3)), "payer");
    let audit = Policy::Audit { target: 1, surcharge: 1 };
    contains(refusal(|it| it.policy = audit), "audit is not offered by this coordinator yet");
    let check = Policy::SelfCheck { surcharge: 1 };
    contains(refusal(|it| it.policy = check), "self-check is not offered");
    contains(refusal(|it| it.budget = 1_999), "budget");
    let stranger = refusal(|it| (it.submitter, it.payer) = (account(77), account(77)));
    contains(stranger, "is not known here");
}

#[test]
fn an_unaffordable_job_names_what_there_is_and_what_it_needs() {
    let mut world = World::new();
    let mut manifest = manifest(100_000, QUORUM);
    manifest.limits.fuel = 1_000_000_000;
    let refused = world.refused(World::submission(&manifest)).to_string();
    assert!(refused.contains("100 credits available"), "{refused}");
    assert!(refused.contains("needs 300000 credits"), "{refused}");
    assert_eq!(world.store.granted(account(2)), 100 * Amount::CREDIT);
}

#[test]
fn the_hold_is_the_lesser_of_budget_and_cap_and_the_rest_returns() {
    let mut world = World::with_hosts(3);
    let mut small = manifest(10, QUORUM);
    small.budget = 15_000;
    let capped = world.quorum(10);
    // 10 tasks × 3 copies × 10⁶ fuel at 10⁶ micro-credits per 10⁹.
    assert_eq!(world.store.escrow(capped), 30_000);
    let budgeted = world.submit(&small);
    assert_eq!(world.store.escrow(budgeted), 15_000);
    world.drain(&[3, 4, 5]);
    assert_eq!(world.state(capped), JobState::Finished);
    let paid = 2 * 2 * (0..10u64).map(|task| (1_000 + task).div_ceil(1_000)).sum::<u64>();
    let left = 100 * Amount::CREDIT - i64::try_from(paid).unwrap();
    assert_eq!(world.store.granted(account(2)), left);
}

#[test]
fn the_same_manifest_is_the_same_job() {
    let mut world = World::new();
    let first = world.send(World::submission(&manifest(4, QUORUM)));
    assert_eq!(world.send(World::submission(&manifest(4, QUORUM))), first);
    assert_eq!(world.store.jobs.len(), 1);
    let mut other = manifest(4, QUORUM);
    other.nonce = Nonce([1; 16]);
    assert!(matches!(
        world.send(World::submission(&other)),
        Some(Reply::Submitted { number: 2, .. })
    ));
}

/// A submission whose caller found the job in the store.
fn found(world: &World, job: tallymill_protocol::JobId, command: Command) -> Command {
    let row = &world.store.jobs[&job];
    match command {
        Command::Submit { manifest, envelope, by, largest_input, once, .. } => {
            let stored = Some((row.number, row.escrow));
            Command::Submit { manifest, envelope, by, largest_input, stored, once }
        }
        other => other,
    }
}

#[test]
fn a_job_that_is_over_stays_over_when_its_manifest_comes_again() {
    let mut world = World::with_hosts(2);
    let submission = || World::submission(&manifest(4, QUORUM));
    let first = world.send(submission());
    let Some(Reply::Submitted { job, .. }) = first else { panic!("{first:?}") };
    world.drain(&[3, 4]);
    assert_eq!(world.state(job), JobState::Finished);
    let before = world.store.transfers.len();
    assert_eq!(world.send(submission()), first, "its caller may have looked before it ended");
    world.restart();
    let again = found(&world, job, submission());
    assert_eq!(world.send(again), first, "its caller found it in the store");
    world.pass(2 * Micros::DAY);
    let late = found(&world, job, submission());
    assert_eq!(world.send(late), first, "also after its deadline");
    assert_eq!(world.store.transfers.len(), before, "no credit is held again");
    assert_eq!(world.state(job), JobState::Finished);
    assert!(world.engine.job(job).is_none());
}

#[test]
fn only_its_submitter_hears_that_a_job_was_taken_before() {
    let mut world = World::new();
    let job = world.quorum(4);
    let command = match found(&world, job, World::submission(&manifest(4, QUORUM))) {
        Command::Submit { manifest, envelope, largest_input, stored, once, .. } => {
            let by = account(3);
            Command::Submit { manifest, envelope, by, largest_input, stored, once }
        }
        other => other,
    };
    assert!(matches!(world.refused(command), Refusal::Forbidden { .. }));
}

#[test]
fn live_jobs_of_an_account_are_limited() {
    let mut world = World::with(tallymill_engine::Config { max_jobs_per_account: 1, ..config() });
    let job = world.quorum(4);
    let mut other = manifest(4, QUORUM);
    other.nonce = Nonce([1; 16]);
    let refused = world.refused(World::submission(&other));
    assert!(matches!(refused, Refusal::Limit { limit: 1, .. }), "{refused}");
    world.cancel(job);
    world.submit(&other);
}

fn keyed(command: Command, body: &[u8]) -> Command {
    let request = Digest::of(body);
    let key = Once { account: account(2), route: "jobs", name: "k".into(), request };
    match command {
        Command::Submit { manifest, envelope, by, largest_input, stored, .. } => {
            let once = Some(key);
            Command::Submit { manifest, envelope, by, largest_input, stored, once }
        }
        Command::Grant { by, to, amount, .. } => Command::Grant { by, to, amount, once: Some(key) },
        other => other,
    }
}

#[test]
fn an_idempotency_key_gives_the_first_answer_again_also_after_a_restart() {
    let mut world = World::new();
    let submit = || keyed(World::submission(&manifest(4, QUORUM)), b"a");
    let first = world.send(submit());
    let Some(Reply::Submitted { job, .. }) = first else { panic!("{first:?}") };
    world.cancel(job);
    assert_eq!(world.send(submit()), first, "also when the job is over");
    world.restart();
    assert_eq!(world.send(submit()), first);
    let other = world.refused(keyed(World::submission(&manifest(5, QUORUM)), b"b"));
    assert!(matches!(other, Refusal::OnceConflict(_)), "{other}");
    assert_eq!(world.store.jobs.len(), 1);
    world.pass(8 * Micros::DAY);
    let later = world.refused(submit());
    assert!(matches!(later, Refusal::Field { field: "deadline", .. }), "kept seven days: {later}");
}

#[test]
fn a_grant_under_a_key_is_booked_once() {
    let mut world = World::new();
    let amount = Amount::new(5);
    let grant = || keyed(Command::Grant { by: OPERATOR, to: account(4), amount, once: None }, b"g");
    let first = world.send(grant());
    assert_eq!(world.send(grant()), first);
    assert_eq!(world.store.granted(account(4)), 5);
}

#[test]
fn idempotency_keys_of_an_account_are_limited() {
    let mut world = World::new();
    let amount = Amount::new(1);
    let keyed = |number: u32| {
        let (account, route, name) = (OPERATOR, "grant", number.to_string());
        let once = Some(Once { account, route, name, request: Digest::ZERO });
        Command::Grant { by: OPERATOR, to: account_of(number), amount, once }
    };
    for number in 0..10_000 {
        world.post(keyed(number));
    }
    world.flush();
    assert!(matches!(world.refused(keyed(10_000)), Refusal::Limit { limit: 10_000, .. }));
    // Whoever gave much credit can still suspend.
    let (account, route, name) = (OPERATOR, "suspend", "now".to_owned());
    let once = Some(Once { account, route, name, request: Digest::ZERO });
    let (kind, subject) = (tallymill_engine::rows::SuspensionKind::Account, self::account(3).0);
    let (by, reason) = (OPERATOR, "floods".to_owned());
    assert!(world.send(Command::Suspend { by, kind, subject, reason, once }).is_some());
    world.pass(7 * Micros::DAY);
    assert!(matches!(world.send(keyed(10_000)), Some(Reply::Done { .. })));
}

fn account_of(number: u32) -> tallymill_protocol::AccountId {
    account(if number.is_multiple_of(2) { 3 } else { 4 })
}

#[test]
fn a_job_that_ends_tells_its_payer() {
    let mut world = World::new();
    let job = world.quorum(4);
    world.events.clear();
    world.cancel(job);
    let owner = account(2);
    assert!(world.events.contains(&tallymill_engine::Event::Account { owner }));
}
