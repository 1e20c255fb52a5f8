//! Routes, floors, ids, and a broken book for every invariant.

use std::collections::BTreeSet;

use tallymill_ledger::{
    AccountKey, AccountKind, Amount, AmountError, Balances, Batch, Book, INVARIANTS, LedgerError,
    Transfer, TransferKind, Violation, earn, finalise, hold, release,
};
use tallymill_protocol::{Digest, HostId};

use crate::world::{World, amount, issuer, job, key, owner, payee};

fn kinds() -> [AccountKind; 8] {
    let (one, two) = (job(1, 0), job(2, 0));
    [
        AccountKind::Available { owner: owner(1) },
        AccountKind::Granted { owner: owner(1) },
        AccountKind::Escrow { job: one.job },
        AccountKind::Escrow { job: two.job },
        one.pending(&payee(1)).kind,
        AccountKind::AuditPool,
        AccountKind::Grants,
        AccountKind::Clearing { with: issuer(1) },
    ]
}

fn transfer(kind: TransferKind, debit: AccountKind, credit: AccountKind) -> Transfer {
    let (_, _, job, host) = debit.parts();
    let (_, _, other_job, other_host) = credit.parts();
    Transfer {
        kind,
        issuer: issuer(0),
        debit: key(issuer(0), debit),
        credit: key(issuer(0), credit),
        amount: amount(1),
        job: job.or(other_job),
        host: host.or(other_host),
        evidence: Digest::ZERO,
    }
}

fn grant_of(micros: i64) -> Transfer {
    let grants = transfer(
        TransferKind::Grant,
        AccountKind::Grants,
        AccountKind::Granted { owner: owner(1) },
    );
    Transfer { amount: amount(micros), ..grants }
}

#[test]
fn exactly_the_listed_routes_exist() {
    let mut routes = BTreeSet::new();
    for kind in TransferKind::ALL {
        for (from, debit) in kinds().into_iter().enumerate() {
            for (to, credit) in kinds().into_iter().enumerate() {
                if transfer(kind, debit, credit).is_well_formed() {
                    routes.insert((kind.name(), from, to));
                }
            }
        }
    }
    let expected = [
        ("audit_pay", 5, 0),
        ("clear", 0, 7),
        ("clear", 7, 0),
        ("earn", 2, 4),
        ("grant", 6, 1),
        ("hold", 0, 2),
        ("hold", 0, 3),
        ("hold", 1, 2),
        ("hold", 1, 3),
        ("post", 4, 0),
        ("post", 4, 1),
        ("release", 2, 0),
        ("release", 2, 1),
        ("release", 3, 0),
        ("release", 3, 1),
        ("surcharge", 2, 5),
        ("surcharge", 3, 5),
        ("void", 4, 2),
    ];
    assert_eq!(routes.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_transfer_stays_with_its_issuer_job_host_and_owner() {
    let (pending, own) =
        (job(1, 0).pending(&payee(1)).kind, AccountKind::Available { owner: owner(1) });
    let good = transfer(TransferKind::Post, pending, own);
    assert!(good.is_well_formed());
    let mut bad = [good; 6];
    bad[0].issuer = issuer(1);
    bad[1].debit.issuer = issuer(1);
    bad[2].credit.issuer = issuer(1);
    bad[3].job = None;
    bad[4].host = Some(HostId([0; 32]));
    bad[5].credit.kind = AccountKind::Available { owner: owner(2) };
    let mut balances = Balances::default();
    balances.load(good.debit, amount(9));
    for transfer in bad {
        assert!(matches!(balances.apply(&transfer), Err(LedgerError::Route { kind: "post", .. })));
    }
}

#[test]
fn nothing_or_less_is_not_moved() {
    for micros in [0, -1] {
        let refused = Balances::default().apply(&grant_of(micros));
        assert_eq!(refused, Err(LedgerError::NotPositive(amount(micros))));
    }
}

#[test]
fn every_floor_holds_to_the_last_micro_credit() {
    let one = job(1, 0);
    let routes = [
        (TransferKind::Hold, kinds()[0], one.escrow().kind),
        (TransferKind::Hold, kinds()[1], one.escrow().kind),
        (TransferKind::Earn, one.escrow().kind, kinds()[4]),
        (TransferKind::Post, kinds()[4], kinds()[0]),
        (TransferKind::AuditPay, AccountKind::AuditPool, kinds()[0]),
    ];
    for (kind, debit, credit) in routes {
        let mut transfer = transfer(kind, debit, credit);
        let mut balances = Balances::default();
        balances.load(transfer.debit, amount(10));
        transfer.amount = amount(11);
        let (account, available) = (Box::new(transfer.debit), amount(10));
        let expected = LedgerError::Floor { account, available, needed: amount(11) };
        assert_eq!(balances.apply(&transfer), Err(expected));
        transfer.amount = amount(10);
        let applied = balances.apply(&transfer).unwrap();
        assert_eq!((applied.debit, applied.credit), (Amount::ZERO, amount(10)));
    }
}

#[test]
fn a_balance_that_does_not_fit_changes_nothing() {
    let mut balances = Balances::default();
    let full = grant_of(1);
    balances.load(full.credit, Amount::MAX);
    let before = balances.clone();
    assert!(matches!(
        balances.apply(&full),
        Err(LedgerError::Amount(AmountError::Overflow { .. }))
    ));
    assert_eq!(balances, before);
}

#[test]
fn a_group_of_transfers_is_booked_whole_or_not_at_all() {
    let mut balances = Balances::default();
    let refused = balances.apply_all(&[grant_of(5), grant_of(0)]);
    assert_eq!(refused, Err(LedgerError::NotPositive(Amount::ZERO)));
    assert_eq!(balances, Balances::default());
    balances.apply_all(&[grant_of(5), grant_of(2)]).unwrap();
    assert_eq!(balances.balance(&grant_of(1).credit), amount(7));
}

#[test]
fn every_account_has_its_own_id_and_parts() {
    let ids: BTreeSet<_> = kinds()
        .iter()
        .flat_map(|kind| [0, 1].map(|n| AccountKey { issuer: issuer(n), kind: *kind }.id()))
        .collect();
    assert_eq!(ids.len(), 16);
    for kind in kinds() {
        let (name, owner, job, host) = kind.parts();
        assert_eq!(AccountKind::from_parts(name, owner, job, host), Some(kind));
    }
    assert_eq!(AccountKind::from_parts("escrow", None, None, None), None);
    assert_eq!(AccountKind::from_parts("grants", Some([1; 32]), None, None), None);
    assert_eq!(AccountKind::from_parts("fees", None, None, None), None);
    for kind in TransferKind::ALL {
        assert_eq!(TransferKind::from_name(kind.name()), Some(kind));
    }
    assert_eq!(TransferKind::from_name("Grant"), None);
}

#[test]
fn ids_and_digests_never_change() {
    let id = key(issuer(0), AccountKind::AuditPool).id();
    assert_eq!(Digest(id.0).to_string(), GOLDEN.0);
    assert_eq!(grant_of(5).digest().to_string(), GOLDEN.1);
    assert_ne!(grant_of(5).digest(), grant_of(6).digest());
}

const GOLDEN: (&str, &str) = (
    "809b469436d3748858df56bd67155bcd845158e53e01fc8b2a2ceef50f329f1f",
    "7b6f1a1bb5bd3a4c2bd4c663158428379d56562a2986046631f3498a1bc8b5fe",
);

/// Books with one closed and one open job, in order.
fn sound() -> World {
    let mut world = World::default();
    world.grant(0, owner(0), 100).unwrap();
    for n in [1, 2] {
        let job = job(n, 0);
        world.record(&job);
        let (held, transfers) = hold(&world.balances, &job, amount(40), 40).unwrap();
        world.book(Ok(transfers)).unwrap();
        let batch = Batch { prices: &[amount(10)], evidence: Digest::of(&n.to_be_bytes()) };
        world.book(earn(&job, &payee(1), &batch)).unwrap();
        if n == 1 {
            world.book(finalise(&job, &payee(1), &batch)).unwrap();
            world.book(release(&world.balances, &job, held, 0)).unwrap();
            world.jobs.get_mut(&job.job).unwrap().closed = true;
        }
    }
    world.check().unwrap();
    world
}

/// What the named invariant says of the books after `break_it`.
fn broken(name: &str, break_it: impl FnOnce(&mut World)) -> Violation {
    let mut world = sound();
    break_it(&mut world);
    let policies = crate::world::policies();
    let (transfers, balances, jobs) = (&world.transfers[..], &world.balances, &world.jobs);
    let records = tallymill_ledger::Records { transfers, balances, jobs, policies: &policies };
    let (_, holds) =
        INVARIANTS.iter().find(|(known, _)| *known == name).expect("an invariant of this name");
    holds(&records).expect_err("the invariant sees it")
}

#[test]
fn credit_from_nowhere_is_seen() {
    let add =
        |world: &mut World| world.balances.load(key(issuer(0), AccountKind::AuditPool), amount(1));
    assert_eq!(
        broken("the balances of each issuer sum to zero", add),
        Violation::Sum { issuer: issuer(0), sum: 1 }
    );
    let account = Box::new(key(issuer(0), AccountKind::AuditPool));
    let expected = Violation::Balance { account, found: amount(1), expected: Amount::ZERO };
    assert_eq!(broken("the transfers give the balances", add), expected);
}

#[test]
fn credit_of_one_issuer_does_not_make_up_for_anothers() {
    let violation = broken("the balances of each issuer sum to zero", |world| {
        world.balances.load(key(issuer(0), AccountKind::AuditPool), amount(1));
        world.balances.load(key(issuer(1), AccountKind::Grants), amount(-1));
    });
    assert!(matches!(violation, Violation::Sum { .. }));
}

#[test]
fn a_balance_below_its_floor_is_seen() {
    let account = key(issuer(0), AccountKind::AuditPool);
    let violation =
        broken("no balance is below its floor", |world| world.balances.load(account, amount(-1)));
    assert_eq!(violation, Violation::Floor { account: Box::new(account), balance: amount(-1) });
}

#[test]
fn a_transfer_that_could_not_be_booked_is_seen() {
    let violation = broken("the transfers give the balances", |world| {
        world.transfers.remove(0);
    });
    assert!(matches!(violation, Violation::Transfer { index: 0, .. }), "{violation}");
}

#[test]
fn an_escrow_that_does_not_cover_its_leases_is_seen() {
    let open = job(2, 0).job;
    let violation = broken("every escrow covers what is reserved", |world| {
        world.jobs.get_mut(&open).unwrap().reserved = amount(31);
    });
    assert_eq!(
        violation,
        Violation::Reserved { job: open, escrow: amount(30), reserved: amount(31) }
    );
}

#[test]
fn credit_left_in_a_closed_job_is_seen() {
    let open = job(2, 0).job;
    let violation = broken("a closed job holds nothing", |world| {
        world.jobs.get_mut(&open).unwrap().closed = true;
    });
    assert!(matches!(violation, Violation::Closed { job, .. } if job == open));
}

#[test]
fn grants_above_a_limit_are_seen() {
    let to = |n| key(issuer(0), AccountKind::Granted { owner: owner(n) });
    let add = |n, micros| Transfer { amount: amount(micros), credit: to(n), ..grant_of(1) };
    let name = "grants stay within their limits";
    let one = broken(name, |world| world.transfers.push(add(1, 1_001)));
    assert!(matches!(one, Violation::Granted { account: Some(_), .. }), "{one}");
    let all = broken(name, |world| world.transfers.extend([1, 2, 3].map(|n| add(n, 801))));
    assert!(matches!(all, Violation::Granted { account: None, .. }), "{all}");
}

#[test]
fn slots_that_are_paid_twice_are_seen() {
    let name = "nothing is paid twice";
    for (kind, found) in [(TransferKind::Earn, "earn"), (TransferKind::Post, "post")] {
        let violation = broken(name, |world| {
            let again = *world.transfers.iter().find(|transfer| transfer.kind == kind).unwrap();
            world.transfers.push(again);
        });
        assert!(matches!(violation, Violation::Twice { kind, .. } if kind == found), "{violation}");
    }
}

#[test]
fn pay_to_the_wrong_kind_of_credit_is_seen() {
    let name = "pay follows the payer";
    let posted = |world: &mut World| {
        let at = world.transfers.iter().position(|transfer| transfer.kind == TransferKind::Post);
        at.unwrap()
    };
    let as_grant = broken(name, |world| {
        let at = posted(world);
        world.transfers[at].credit.kind = AccountKind::Granted { owner: owner(1) };
    });
    assert!(matches!(as_grant, Violation::Payer { .. }));
    let by_another = broken(name, |world| {
        let hold = world.transfers.iter_mut().find(|transfer| transfer.kind == TransferKind::Hold);
        hold.unwrap().debit.kind = AccountKind::Granted { owner: owner(2) };
    });
    assert!(matches!(by_another, Violation::Payer { .. }));
    let unknown = broken(name, |world| {
        world.jobs.remove(&job(1, 0).job);
    });
    assert!(matches!(unknown, Violation::UnknownJob { .. }));
}
