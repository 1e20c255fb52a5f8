//! Accounts, hosts, keys, admission and grants.

use tallymill_engine::rows::{AccountStatus, SuspensionKind};
use tallymill_engine::{Admission, Command, Config, Event, Once, Refusal, Reply};
use tallymill_ledger::Amount;
use tallymill_protocol::*;

use crate::world::*;

#[test]
fn admission_decides_who_comes_in() {
    let mut closed = World::with(Config { admission: Admission::Closed, ..config() });
    assert_eq!(closed.open(20), Some(Reply::Refused(Refusal::Closed)));
    assert!(closed.store.accounts.contains_key(&OPERATOR), "operators always do");
    let mut world = World::with(Config { admission: Admission::Approved, ..config() });
    world.join(3, 3);
    assert_eq!(world.reasons(3), "the owner's account waits for approval");
    let own = Manifest { payer: account(3), submitter: account(3), ..manifest(1, Policy::Trusted) };
    assert_eq!(world.refused(World::submission(&own)), Refusal::Waiting(account(3)));
    let by = account(3);
    let refused = world.refused(Command::Approve { by, account: account(3), once: None });
    assert!(matches!(refused, Refusal::Forbidden { .. }));
    world.send(Command::Approve { by: OPERATOR, account: account(3), once: None });
    assert_eq!(world.store.accounts[&account(3)].status, AccountStatus::Active);
    assert_eq!(world.store.admin.last().unwrap().action, "approve");
    assert!(world.reasons(3).contains("no job"));
}

#[test]
fn opening_an_account_again_changes_nothing() {
    let mut world = World::new();
    let commits = world.store.sequence;
    assert!(matches!(world.open(2), Some(Reply::Done { .. })));
    assert_eq!(world.store.sequence, commits);
}

#[test]
fn grants_are_capped_recorded_and_for_operators_only() {
    let mut world = World::new();
    let amount = Amount::new(1);
    let by = account(3);
    let stranger = Command::Grant { by, to: account(3), amount, once: None };
    assert!(matches!(world.refused(stranger), Refusal::Forbidden { .. }));
    let over = world.grant(2, 901 * Amount::CREDIT);
    let Some(Reply::Refused(Refusal::Ledger(error))) = over else { panic!("{over:?}") };
    assert!(error.to_string().contains("limit of 1000 credits"), "{error}");
    assert!(matches!(world.grant(3, 0), Some(Reply::Refused(_))));
    assert!(matches!(world.grant(77, 1), Some(Reply::Refused(Refusal::UnknownAccount(_)))));
    world.restart();
    assert!(matches!(world.grant(2, 901 * Amount::CREDIT), Some(Reply::Refused(_))));
    assert!(matches!(world.grant(2, 900 * Amount::CREDIT), Some(Reply::Done { .. })));
    assert_eq!(world.store.admin.iter().filter(|row| row.action == "grant").count(), 2);
}

#[test]
fn a_host_belongs_to_one_owner_and_a_withdrawn_one_never_returns() {
    let mut world = World::with_hosts(1);
    assert_eq!(world.refused(world.binding(3, 4)), Refusal::HostTaken(host(3)));
    assert!(matches!(world.send(world.binding(3, 3)), Some(Reply::Host { .. })), "renewed");
    world.quorum(4);
    let lease = world.lease(3).remove(0);
    assert!(matches!(world.refused(World::revocation(3, 4)), Refusal::Forbidden { .. }));
    world.send(World::revocation(3, 3));
    assert!(!world.store.leases.contains_key(&lease.attempt), "its tasks are free at once");
    let refused = world.refused(world.call(3, World::ask(), Vec::new()));
    assert!(matches!(refused, Refusal::Revoked { .. }), "{refused}");
    assert!(matches!(world.refused(world.binding(3, 3)), Refusal::Revoked { .. }));
}

#[test]
fn bindings_end_and_are_limited() {
    let mut world = World::with(Config { max_hosts_per_account: 1, ..config() });
    world.join(3, 3);
    assert!(matches!(world.refused(world.binding(20, 3)), Refusal::Limit { limit: 1, .. }));
    world.pass(MAX_BINDING);
    let refused = world.refused(world.call(3, World::ask(), Vec::new()));
    assert!(matches!(refused, Refusal::BindingEnded { .. }));
    let Command::JoinHost { mut binding, neighbourhood, .. } = world.binding(3, 3) else {
        unreachable!()
    };
    binding.expiry = world.now.plus(MAX_BINDING + 1);
    let envelope = signed(account(3).0, &binding);
    let refused = world.refused(Command::JoinHost { binding, envelope, neighbourhood });
    assert!(matches!(refused, Refusal::Field { field: "expiry", .. }), "{refused}");
    assert!(matches!(
        world.refused(world.call(9, World::ask(), Vec::new())),
        Refusal::UnknownHost(_)
    ));
}

fn rotation(number: u8, key: u8, sequence: u64, signer: u8) -> Command {
    let rotation = Rotation {
        format: 1,
        network: identity().network,
        account: account(number),
        key: Key([key; 32]),
        recovery: Digest::of(&[200; 32]),
        sequence,
        issued: Micros(0),
    };
    let envelope = signed([signer; 32], &rotation);
    Command::Rotate { rotation, envelope }
}

#[test]
fn an_account_has_so_many_rotations_that_their_chain_can_be_carried_along() {
    let mut world = World::new();
    world.send(rotation(4, 80, 1, 4));
    for sequence in 2..=256 {
        assert!(matches!(world.send(rotation(4, 80, sequence, 80)), Some(Reply::Done { .. })));
    }
    assert!(matches!(world.refused(rotation(4, 80, 257, 80)), Refusal::Limit { limit: 256, .. }));
}

#[test]
fn a_rotation_needs_the_current_or_the_recovery_key_and_its_turn() {
    let mut world = World::new();
    assert_eq!(world.refused(rotation(4, 80, 1, 5)), Refusal::Signer(account(4)));
    assert!(matches!(
        world.refused(rotation(4, 80, 2, 4)),
        Refusal::Field { field: "sequence", .. }
    ));
    assert!(matches!(world.refused(rotation(4, 5, 1, 4)), Refusal::Field { field: "key", .. }));
    world.send(rotation(4, 80, 1, 4));
    assert_eq!(
        world.refused(world.binding(4, 4)),
        Refusal::Signer(account(4)),
        "the old key is out"
    );
    assert_eq!(
        world.refused(rotation(4, 81, 2, 54)),
        Refusal::Signer(account(4)),
        "so is the old recovery key"
    );
    assert!(matches!(world.send(rotation(4, 81, 2, 200)), Some(Reply::Done { .. })), "recovered");
    assert_eq!(world.store.accounts[&account(4)].rotations, 2);
    assert!(matches!(world.open(81), Some(Reply::Refused(_))), "a key stands for one account");
}

#[test]
fn a_suspension_needs_a_reason_and_can_be_lifted() {
    let mut world = World::with_hosts(1);
    let (by, kind, subject) = (OPERATOR, SuspensionKind::Account, account(3).0);
    let empty = Command::Suspend { by, kind, subject, reason: String::new(), once: None };
    assert!(matches!(world.refused(empty), Refusal::Field { field: "reason", .. }));
    world.suspend(kind, subject);
    assert_eq!(world.store.accounts[&account(3)].status, AccountStatus::Suspended);
    world.restart();
    assert!(world.reasons(3).contains("suspended"));
    let lift = || Command::Lift { by, kind, subject, reason: String::new(), once: None };
    world.send(lift());
    assert_eq!(world.store.accounts[&account(3)].status, AccountStatus::Active);
    assert!(world.store.suspensions.is_empty());
    assert!(matches!(world.refused(lift()), Refusal::Field { field: "subject", .. }));
}

#[test]
fn what_operators_do_under_a_key_is_done_once_and_answered_as_before() {
    let mut world = World::with(Config { admission: Admission::Approved, ..config() });
    let act = |route: &'static str, body: &[u8]| {
        let (by, kind, subject) = (OPERATOR, SuspensionKind::Account, account(3).0);
        let (name, request, reason) = ("k".to_owned(), Digest::of(body), "spam".to_owned());
        let once = Some(Once { account: by, route, name, request });
        match route {
            "approve" => Command::Approve { by, account: account(3), once },
            "suspend" => Command::Suspend { by, kind, subject, reason, once },
            _ => Command::Lift { by, kind, subject, reason, once },
        }
    };
    let routes = ["approve", "suspend", "lift"];
    let first = routes.map(|route| world.send(act(route, b"body")));
    assert!(first.iter().all(|reply| matches!(reply, Some(Reply::Done { .. }))), "{first:?}");
    world.restart();
    for (route, first) in routes.into_iter().zip(first) {
        assert_eq!(world.send(act(route, b"body")), first, "{route}");
        let other = world.refused(act(route, b"other"));
        assert_eq!(other, Refusal::OnceConflict("k".into()), "{route}");
    }
    let told: Vec<_> = world.store.admin.iter().map(|row| row.action).collect();
    assert_eq!(told, ["grant", "approve", "suspend", "lift"], "each of them once");
    assert!(world.store.suspensions.is_empty(), "a repeated suspension does not begin again");
}

#[test]
fn events_are_told_once_per_batch() {
    let mut world = World::with_hosts(2);
    let job = world.quorum(4);
    let lease = world.lease_wide(3, 4).remove(0);
    world.events.clear();
    world.finish(3, &lease, Run::honest);
    let of_job = |event: &&Event| matches!(event, Event::Job { id, .. } if *id == job);
    assert_eq!(world.events.iter().filter(of_job).count(), 1);
}

#[test]
fn a_statement_of_another_network_is_refused() {
    let mut world = World::new();
    let Command::JoinHost { mut binding, .. } = world.binding(3, 3) else { unreachable!() };
    binding.network = Network::new("other").unwrap();
    let envelope = signed(account(3).0, &binding);
    let refused = world.refused(Command::JoinHost { binding, envelope, neighbourhood: None });
    assert!(matches!(refused, Refusal::Network { .. }));
}
