//! A job's credit from hold to release, with each refusal.

use tallymill_ledger::{
    AccountKind, Amount, Batch, Book, Held, LedgerError, Reservation, audit_pay, clear, earn,
    finalise, hold, release, reserve, surcharge, void,
};
use tallymill_protocol::Digest;

use crate::world::{World, amount, issuer, job, key, owner, payee};

fn batch(prices: &[Amount]) -> Batch<'_> {
    Batch { prices, evidence: Digest::of(b"slots") }
}

/// A world where owner 0 has 100 granted credit.
fn funded() -> World {
    let mut world = World::default();
    world.grant(0, owner(0), 100).unwrap();
    world
}

#[test]
fn an_unaffordable_job_names_what_is_there_and_what_is_needed() {
    let world = funded();
    let refused = hold(&world.balances, &job(0, 0), amount(250), 130).unwrap_err();
    let expected =
        LedgerError::Unaffordable { payer: owner(0), available: amount(100), needed: amount(130) };
    assert_eq!(refused, expected);
    assert!(refused.to_string().ends_with("0.00003 credits short"), "{refused}");
}

#[test]
fn the_lower_of_budget_and_cap_is_held() {
    let world = funded();
    let held = |cap, budget| {
        hold(&world.balances, &job(0, 0), amount(cap), budget).map(|(held, _)| held.granted)
    };
    assert_eq!(held(70, 90), Ok(amount(70)));
    assert_eq!(held(90, 70), Ok(amount(70)));
    assert_eq!(held(100, u64::MAX), Ok(amount(100)), "a budget beyond all credit is no limit");
    let (_, transfers) = hold(&world.balances, &job(0, 0), Amount::ZERO, 5).unwrap();
    assert!(transfers.is_empty(), "a free job moves nothing");
}

#[test]
fn a_job_pays_its_hosts_and_returns_the_rest() {
    let mut world = funded();
    let (job, payee) = (job(0, 0), payee(1));
    world.record(&job);
    let (held, transfers) = hold(&world.balances, &job, amount(80), 80).unwrap();
    world.book(Ok(transfers)).unwrap();
    world.book(earn(&job, &payee, &batch(&[amount(20), amount(10)]))).unwrap();
    world.book(surcharge(&job, &batch(&[amount(3)]))).unwrap();
    let open = release(&world.balances, &job, held, 2);
    assert_eq!(open, Err(LedgerError::ResultsOpen { job: job.job, open: 2 }));
    world.book(finalise(&job, &payee, &batch(&[amount(30)]))).unwrap();
    world.book(release(&world.balances, &job, held, 0)).unwrap();
    world.jobs.get_mut(&job.job).unwrap().closed = true;
    assert_eq!(world.of(AccountKind::Available { owner: owner(1) }), 30);
    assert_eq!(world.of(AccountKind::Granted { owner: owner(0) }), 67);
    assert_eq!(world.of(AccountKind::AuditPool), 3);
    world.check().unwrap();
}

#[test]
fn voided_pay_returns_to_the_escrow_of_its_job() {
    let mut world = funded();
    let (job, payee) = (job(0, 0), payee(1));
    world
        .book(hold(&world.balances, &job, amount(80), 80).map(|(_, transfers)| transfers))
        .unwrap();
    world.book(earn(&job, &payee, &batch(&[amount(30)]))).unwrap();
    world.book(void(&job, &payee, &batch(&[amount(30)]))).unwrap();
    assert_eq!(world.balances.balance(&job.escrow()), amount(80));
    let twice = world.book(void(&job, &payee, &batch(&[amount(30)])));
    let account = Box::new(job.pending(&payee));
    assert_eq!(
        twice,
        Err(LedgerError::Floor { account, available: Amount::ZERO, needed: amount(30) })
    );
}

#[test]
fn grants_never_become_earnings_by_working_for_oneself() {
    let mut world = funded();
    let (job, own) = (job(0, 0), payee(0));
    let (held, transfers) = hold(&world.balances, &job, amount(100), 100).unwrap();
    world.book(Ok(transfers)).unwrap();
    world.book(earn(&job, &own, &batch(&[amount(60)]))).unwrap();
    world.book(finalise(&job, &own, &batch(&[amount(60)]))).unwrap();
    world.book(release(&world.balances, &job, held, 0)).unwrap();
    assert_eq!(world.of(AccountKind::Available { owner: owner(0) }), 0);
    assert_eq!(world.of(AccountKind::Granted { owner: owner(0) }), 100);
    let sent = clear(
        &world.balances,
        (issuer(0), issuer(1)),
        owner(0),
        (amount(1), amount(9)),
        Digest::ZERO,
    );
    assert!(sent.is_err(), "granted credit is not cleared");
}

#[test]
fn cancelling_a_job_does_not_turn_granted_into_earned_credit() {
    let mut world = funded();
    world.balances.load(key(issuer(0), AccountKind::Available { owner: owner(0) }), amount(50));
    let job = job(0, 0);
    let (held, transfers) = hold(&world.balances, &job, amount(120), 120).unwrap();
    assert_eq!(held, Held { granted: amount(100), earned: amount(20) });
    world.book(Ok(transfers)).unwrap();
    world.book(earn(&job, &payee(1), &batch(&[amount(110)]))).unwrap();
    world.book(release(&world.balances, &job, held, 0)).unwrap();
    assert_eq!(world.of(AccountKind::Granted { owner: owner(0) }), 0);
    assert_eq!(world.of(AccountKind::Available { owner: owner(0) }), 40);
}

#[test]
fn grants_are_capped_per_account_and_in_all() {
    let mut world = World::default();
    world.grant(0, owner(0), 1_000).unwrap();
    let account = world.grant(0, owner(0), 1);
    let (granted, limit) = (amount(1_000), amount(1_000));
    let expected =
        LedgerError::AccountGrants { account: owner(0), granted, asked: amount(1), limit };
    assert_eq!(account, Err(expected));
    world.grant(0, owner(1), 1_000).unwrap();
    let (granted, limit) = (amount(2_000), amount(2_500));
    let expected = LedgerError::TotalGrants { granted, asked: amount(501), limit };
    assert_eq!(world.grant(0, owner(2), 501), Err(expected));
    world.grant(0, owner(2), 500).unwrap();
    assert_eq!(world.grant(0, owner(3), 0), Err(LedgerError::NotPositive(Amount::ZERO)));
    world.check().unwrap();
}

#[test]
fn leasing_stops_when_the_budget_is_reserved() {
    let now = Reservation { budget: amount(100), spent: amount(40), reserved: amount(50) };
    let full = reserve(&now, amount(10)).unwrap();
    assert_eq!(full.reserved, amount(60));
    let (budget, spent, reserved) = (amount(100), amount(40), amount(60));
    let expected = LedgerError::BudgetReserved { budget, spent, reserved, needed: amount(1) };
    assert_eq!(reserve(&full, amount(1)), Err(expected));
    assert!(matches!(reserve(&now, Amount::MAX), Err(LedgerError::Amount(_))));
}

#[test]
fn an_audit_pool_pays_only_what_it_took() {
    let mut world = World::default();
    let pool = key(issuer(0), AccountKind::AuditPool);
    world.balances.load(pool, amount(5));
    let pay =
        |micros| audit_pay(&world.balances, issuer(0), owner(1), amount(micros), Digest::ZERO);
    let expected =
        LedgerError::Floor { account: Box::new(pool), available: amount(5), needed: amount(6) };
    assert_eq!(pay(6), Err(expected));
    assert_eq!(pay(0), Err(LedgerError::NotPositive(Amount::ZERO)));
    assert_eq!(pay(5).unwrap()[0].amount, amount(5));
}

#[test]
fn another_issuers_credit_needs_an_explicit_exchange_within_its_limit() {
    let mut world = World::default();
    let at = |n| key(issuer(n), AccountKind::Available { owner: owner(1) });
    world.balances.load(at(0), amount(50));
    let exchange = |world: &World, to, micros| {
        clear(
            &world.balances,
            (issuer(0), issuer(to)),
            owner(1),
            (amount(micros), amount(40)),
            Digest::ZERO,
        )
    };
    world.book(exchange(&world, 1, 30)).unwrap();
    assert_eq!(
        (world.balances.balance(&at(0)), world.balances.balance(&at(1))),
        (amount(20), amount(30))
    );
    assert_eq!(
        world.transfers.iter().map(|t| t.issuer).collect::<Vec<_>>(),
        [issuer(0), issuer(1)]
    );
    let (held, asked, limit) = (amount(30), amount(11), amount(40));
    let expected = LedgerError::Clearing { issuer: issuer(1), from: issuer(0), held, asked, limit };
    assert_eq!(exchange(&world, 1, 11), Err(expected));
    assert!(
        matches!(exchange(&world, 1, 21), Err(LedgerError::Floor { .. })),
        "more than the owner has"
    );
    assert!(matches!(exchange(&world, 0, 1), Err(LedgerError::Clearing { .. })), "with oneself");
}
