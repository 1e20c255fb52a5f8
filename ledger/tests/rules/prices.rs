//! Prices: rounding, regrouping, caps and what is too large to have one.

use proptest::prelude::*;
use tallymill_ledger::{
    Amount, Balances, Batch, Book, PriceError, PricedUse, RANGE_INPUT_MAX, STORAGE_TERM, cap, earn,
    most_per_result, most_per_segment, price, surcharge_on, total,
};
use tallymill_protocol::cbor::{List, Text};
use tallymill_protocol::{
    AccountId, CoordinatorId, Digest, Inputs, Interface, Limits, Manifest, Micros, Network, Nonce,
    Policy, Requirements, Steps, Tariff, Versions, Visibility, snapshot,
};

use crate::world::{amount, job, payee};

const FREE: Tariff =
    Tariff { fuel: 0, input: 0, output: 0, storage: 0, memory: 0, task: 0, compile: 0 };

fn manifest(policy: Policy, tariff: Tariff) -> Manifest {
    let limits =
        Limits { fuel: 1_000_000_000, memory: 1 << 30, output: 1 << 20, ..Limits::default() };
    Manifest {
        format: 1,
        network: Network::new("example.org/tallymill").unwrap(),
        coordinators: List(vec![CoordinatorId([1; 32])]),
        delegates: List::default(),
        nonce: Nonce([2; 16]),
        payer: AccountId([3; 32]),
        submitter: AccountId([3; 32]),
        module: Digest::of(b"module"),
        versions: Versions { meter: 1, costs: Digest::of(b"costs"), profile: 1 },
        inputs: Inputs::Range { from: 0, count: 10 },
        limits,
        seed: [4; 32],
        argv: List::default(),
        environment: List::default(),
        files: List::default(),
        policy,
        tariff,
        budget: 1,
        deadline: Micros(1),
        priority: 0,
        tags: List::default(),
        visibility: Visibility::Public,
        requirements: Requirements::default(),
        title: Text("prices".to_owned()),
        interface: Interface::Command,
        steps: None,
    }
}

fn costs(tariff: Tariff, used: PricedUse) -> i64 {
    price(&tariff, &used).unwrap().micros()
}

#[test]
fn each_part_of_the_tariff_has_its_own_unit() {
    let used = PricedUse {
        fuel: 2_000_000_000,
        bytes_in: 3 << 20,
        bytes_out: 1 << 30,
        storage_seconds: 5 * 86_400,
        memory_fuel: 7 * (1 << 14) * 1_000_000_000,
        first_on_host: true,
    };
    assert_eq!(costs(Tariff { fuel: 11, ..FREE }, used), 22);
    assert_eq!(costs(Tariff { input: 11, ..FREE }, used), 33);
    assert_eq!(costs(Tariff { output: 11, ..FREE }, used), 1024 * 11);
    assert_eq!(costs(Tariff { storage: 11, ..FREE }, used), 55);
    assert_eq!(costs(Tariff { memory: 11, ..FREE }, used), 77);
    assert_eq!(costs(Tariff { task: 11, ..FREE }, used), 11);
    assert_eq!(costs(Tariff { compile: 11, ..FREE }, used), 11);
    assert_eq!(
        costs(Tariff { compile: 11, ..FREE }, PricedUse { first_on_host: false, ..used }),
        0
    );
}

#[test]
fn a_result_is_rounded_up_once() {
    let half = PricedUse { fuel: 500_000_000, bytes_in: 1 << 19, ..PricedUse::default() };
    let tariff = Tariff { fuel: 1, input: 1, ..FREE };
    assert_eq!(costs(tariff, half), 1, "two halves are one, not two");
    assert_eq!(costs(tariff, PricedUse { fuel: 500_000_001, ..half }), 2);
    assert_eq!(costs(tariff, PricedUse::default()), 0);
}

#[test]
fn a_price_that_fits_is_exact_and_one_above_is_refused() {
    let whole = PricedUse { fuel: 1_000_000_000, ..PricedUse::default() };
    let largest = Tariff { fuel: (1 << 63) - 2, task: 1, ..FREE };
    assert_eq!(price(&largest, &whole), Ok(Amount::MAX));
    assert_eq!(price(&Tariff { task: 2, ..largest }, &whole), Err(PriceError::Result));
    let all = PricedUse { memory_fuel: u128::MAX, ..whole };
    assert_eq!(price(&Tariff { memory: u64::MAX, ..FREE }, &all), Err(PriceError::Result));
    assert_eq!(price(&FREE, &all), Ok(Amount::ZERO), "what is free needs no range");
    assert_eq!(total(&largest, &[whole, whole]), Err(PriceError::Result));
    assert_eq!(surcharge_on(Amount::MAX, 1_000_001), Err(PriceError::Result));
    assert_eq!(surcharge_on(Amount::MAX, 1_000_000), Ok(Amount::MAX));
}

#[test]
fn the_cap_covers_every_copy_at_its_limits() {
    let tariff = Tariff { fuel: 100, memory: 10, output: 3, task: 2, compile: 5, ..FREE };
    let each = 100 + 10 + 3 + 2 + 5;
    let caps = |policy| cap(&manifest(policy, tariff), 0).unwrap().micros();
    assert_eq!(caps(Policy::Trusted), 10 * each);
    assert_eq!(caps(Policy::Quorum { n: 2 }), 10 * 3 * each, "two copies and a tie-break");
    assert_eq!(caps(Policy::Audit { target: 1, surcharge: 500_000 }), 10 * each * 3 / 2);
    assert_eq!(
        caps(Policy::SelfCheck { surcharge: 1 }),
        10 * (each + 1),
        "a surcharge is rounded up per result"
    );
}

#[test]
fn the_cap_knows_the_longest_input_and_how_long_outputs_are_kept() {
    let mut table = manifest(Policy::Trusted, Tariff { input: 1 << 20, ..FREE });
    assert_eq!(cap(&table, 1_000).unwrap().micros(), 10 * i64::try_from(RANGE_INPUT_MAX).unwrap());
    table.inputs = Inputs::Table { root: Digest::ZERO, count: 10, blob: Digest::ZERO };
    assert_eq!(cap(&table, 1_000).unwrap().micros(), 10_000);
    table.tariff = Tariff { storage: 1 << 10, ..FREE };
    assert_eq!(STORAGE_TERM, 7 * 86_400);
    assert_eq!(cap(&table, 0).unwrap().micros(), 10 * 7, "1 MiB of output for seven days");
}

#[test]
fn a_job_that_is_too_dear_is_named() {
    let mut dear = manifest(Policy::Trusted, Tariff { task: 1 << 61, ..FREE });
    let each = Amount::new(1 << 61);
    assert_eq!(cap(&dear, 0), Err(PriceError::Job { results: 10, each }));
    dear.inputs = Inputs::Range { from: 0, count: 3 };
    assert_eq!(cap(&dear, 0), Ok(Amount::new(3 << 61)));
    dear.tariff.task = 1 << 63;
    assert_eq!(cap(&dear, 0), Err(PriceError::Result));
}

fn tariff() -> impl Strategy<Value = Tariff> {
    let rate = || prop_oneof![Just(0u64), 0u64..10_000_000];
    (rate(), rate(), rate(), rate(), rate(), rate(), rate()).prop_map(
        |(fuel, input, output, storage, memory, task, compile)| Tariff {
            fuel,
            input,
            output,
            storage,
            memory,
            task,
            compile,
        },
    )
}

fn used() -> impl Strategy<Value = PricedUse> {
    (
        0u64..1_000_000_000,
        0u64..1 << 24,
        0u64..1 << 20,
        0u64..=STORAGE_TERM,
        0u64..1 << 40,
        any::<bool>(),
    )
        .prop_map(
            |(fuel, bytes_in, bytes_out, storage_seconds, memory_fuel, first_on_host)| PricedUse {
                fuel,
                bytes_in,
                bytes_out,
                storage_seconds,
                memory_fuel: u128::from(memory_fuel),
                first_on_host,
            },
        )
}

/// Pays batches of these prices from a full escrow; what is left and what is pending.
fn paid(groups: &[&[Amount]]) -> (Amount, Amount) {
    let (job, payee) = (job(0, 0), payee(1));
    let mut balances = Balances::default();
    balances.load(job.escrow(), Amount::MAX);
    for group in groups {
        let transfers =
            earn(&job, &payee, &Batch { prices: group, evidence: Digest::ZERO }).unwrap();
        balances.apply_all(&transfers).unwrap();
    }
    (balances.balance(&job.escrow()), balances.balance(&job.pending(&payee)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn regrouping_never_changes_a_balance(
        tariff in tariff(),
        results in prop::collection::vec(used(), 1..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let prices: Vec<_> = results.iter().map(|used| price(&tariff, used).unwrap()).collect();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(prices.len())).collect();
        cuts.extend([0, prices.len()]);
        cuts.sort_unstable();
        let groups: Vec<_> = cuts.windows(2).map(|pair| &prices[pair[0]..pair[1]]).collect();
        let whole = paid(&[&prices]);
        prop_assert_eq!(whole, paid(&groups));
        prop_assert_eq!(whole.1, total(&tariff, &results).unwrap());
    }

    #[test]
    fn no_result_within_its_limits_costs_more_than_was_reserved(tariff in tariff(), used in used()) {
        let mut manifest = manifest(Policy::Audit { target: 1, surcharge: 30_000 }, tariff);
        manifest.limits.memory = 1 << 32;
        let memory_fuel = used.memory_fuel.min(u128::from(used.fuel) << 16);
        let used = PricedUse { memory_fuel, ..used };
        let cost = price(&tariff, &used).unwrap();
        let with_surcharge = cost.plus(surcharge_on(cost, 30_000).unwrap()).unwrap();
        prop_assert!(with_surcharge <= most_per_result(&manifest, used.bytes_in, used.first_on_host).unwrap());
    }

    #[test]
    fn the_price_is_the_least_integer_not_below_the_sum(fuel in 0u64..1 << 40, rate in 0u64..1 << 40) {
        let used = PricedUse { fuel, ..PricedUse::default() };
        let found = i128::from(price(&Tariff { fuel: rate, ..FREE }, &used).unwrap().micros());
        let exact = i128::from(fuel) * i128::from(rate);
        prop_assert!(found * 1_000_000_000 >= exact && (found - 1) * 1_000_000_000 < exact);
    }
}

#[test]
fn a_negative_price_is_never_paid() {
    let batch = Batch { prices: &[amount(5), amount(-1)], evidence: Digest::ZERO };
    assert!(earn(&job(0, 0), &payee(1), &batch).is_err());
}

/// The manifest with segments of this fuel.
fn stepped(policy: Policy, tariff: Tariff, segment: u64) -> Manifest {
    let steps = Some(Steps { budget: 1, segment });
    Manifest { interface: Interface::Step, steps, ..manifest(policy, tariff) }
}

#[test]
fn the_cap_of_a_long_task_has_its_fuel_once_and_the_fees_of_each_segment() {
    let tariff = Tariff { fuel: 100, memory: 10, task: 2, compile: 5, ..FREE };
    let long = stepped(Policy::Quorum { n: 2 }, tariff, 300_000_000);
    // Three full segments of a limit of 10⁹ and a last one; each is rounded up by itself.
    let each = (100 + 10) + 4 * (2 + 5 + 1);
    assert_eq!(most_per_result(&long, 0, true).unwrap().micros(), each);
    assert_eq!(cap(&long, 0).unwrap().micros(), 10 * 3 * each);
    let audited = stepped(Policy::Audit { target: 1, surcharge: 500_000 }, tariff, 300_000_000);
    assert_eq!(most_per_result(&audited, 0, true).unwrap().micros(), each * 3 / 2 + 4);
    let short = stepped(Policy::Trusted, tariff, 1);
    assert!(
        matches!(most_per_result(&short, 0, true), Ok(amount) if amount.micros() > 8_000_000_000)
    );
    let dear = stepped(Policy::Trusted, Tariff { task: 1 << 62, ..FREE }, 300_000_000);
    assert_eq!(most_per_result(&dear, 0, true), Err(PriceError::Result));
}

#[test]
fn a_segment_pays_for_the_snapshots_it_reads_and_writes() {
    let long =
        stepped(Policy::Trusted, Tariff { input: 1 << 20, output: 1 << 20, ..FREE }, 1 << 22);
    let most = i64::try_from(snapshot::max_len(&long.limits)).unwrap();
    assert_eq!(most_per_segment(&long, 0, 77).unwrap().micros(), 77 + most);
    let fuel = stepped(Policy::Trusted, Tariff { fuel: 1_000_000_000, ..FREE }, 1 << 22);
    assert_eq!(most_per_segment(&fuel, 9, 0).unwrap().micros(), 9, "only the fuel that is left");
}

proptest! {
    #[test]
    fn whatever_a_chain_has_cost_the_rest_fits_its_price(
        segment in 1u64..400_000_000, more in prop::collection::vec(0u64..500_000_000, 1..20),
        (fuel, memory, byte) in (0u64..2_000, 0u64..2_000, 0u64..2_000), (task, compile) in (0u64..50, 0u64..50),
        surcharge in prop_oneof![Just(None), (0u32..2_000_000).prop_map(Some)],
    ) {
        let policy = surcharge.map_or(Policy::Trusted, |surcharge| Policy::SelfCheck { surcharge });
        let tariff = Tariff { fuel, input: byte, output: byte, storage: byte, memory, task, compile };
        let long = stepped(policy, tariff, segment);
        let all = most_per_result(&long, 21, true).unwrap().micros();
        let snapshot = snapshot::max_len(&long.limits);
        let (mut left, mut spent, mut bytes_in) = (long.limits.fuel, 0, 21);
        for more in more {
            let most = most_per_segment(&long, left, bytes_in).unwrap().micros();
            prop_assert!(spent + most <= all, "{spent} spent, {most} reserved of {all}");
            let Some(rest) = left.checked_sub(segment + more) else { break };
            let used = PricedUse {
                fuel: segment + more, bytes_in, bytes_out: snapshot, storage_seconds: STORAGE_TERM,
                memory_fuel: u128::from(segment + more) * (1 << 14), first_on_host: true,
            };
            let cost = price(&tariff, &used).unwrap();
            let charged = cost.micros() + surcharge_on(cost, surcharge.unwrap_or(0)).unwrap().micros();
            prop_assert!(charged <= most, "a result costs at most what its lease reserved");
            (left, spent, bytes_in) = (rest, spent + charged, 21 + snapshot);
        }
    }
}
