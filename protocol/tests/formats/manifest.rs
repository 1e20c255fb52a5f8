//! Each rule of a manifest, broken by itself.

use std::collections::BTreeSet;

use tallymill_protocol::cbor::{List, Text};
use tallymill_protocol::{
    AccountId, CoordinatorId, Digest, File, Inputs, Interface, Limits, MAX_FUEL, MAX_TASKS,
    MIN_SEGMENT, Manifest, Micros, Network, Nonce, Policy, Requirements, Steps, Tariff, Versions,
    Visibility,
};

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text(text.to_owned())
}

fn file(name: &str) -> File {
    File { name: text(name), blob: Digest::ZERO, length: 0 }
}

fn sound() -> Manifest {
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
        limits: Limits::default(),
        seed: [4; 32],
        argv: List(vec![text("-x")]),
        environment: List(vec![(text("A"), text("a=b")), (text("B"), text(""))]),
        files: List(vec![file("a.txt"), file("b")]),
        policy: Policy::Trusted,
        tariff: Tariff::default(),
        budget: 1,
        deadline: Micros(1),
        priority: 9,
        tags: List(vec![text("physics"), text("test")]),
        visibility: Visibility::Public,
        requirements: Requirements { features: List(vec![text("simd")]) },
        title: text("a job"),
        interface: Interface::Command,
        steps: None,
    }
}

/// A sound manifest of a long task.
fn stepped() -> Manifest {
    let steps = Some(Steps { budget: 1, segment: MIN_SEGMENT });
    Manifest { interface: Interface::Step, steps, ..sound() }
}

type Change = fn(&mut Manifest);

/// Field, a word of its rule, and a change that breaks that rule alone.
const BROKEN: [(&str, &str, Change); 26] = [
    ("format", "must be 1", |m| m.format = 2),
    ("coordinators", "at least one", |m| m.coordinators.0.clear()),
    ("inputs", "1 to", |m| m.inputs = Inputs::Range { from: 0, count: 0 }),
    ("inputs", "1 to", |m| m.inputs = Inputs::Range { from: 0, count: MAX_TASKS + 1 }),
    ("inputs", "1 to", |m| {
        m.inputs = Inputs::Table { root: Digest::ZERO, count: 0, blob: Digest::ZERO }
    }),
    ("inputs", "fit 64 bits", |m| m.inputs = Inputs::Range { from: u64::MAX, count: 1 }),
    ("limits.fuel", "1 to", |m| m.limits.fuel = 0),
    ("limits.fuel", "1 to", |m| m.limits.fuel = MAX_FUEL + 1),
    ("limits.memory", "4 GiB", |m| m.limits.memory = (1 << 32) + 1),
    ("limits.table", "10,000,000", |m| m.limits.table = 10_000_001),
    ("argv", "no NUL", |m| m.argv.0.push(text("a\0b"))),
    ("argv", "4 KiB", |m| m.argv.0.push(text(&"x".repeat(4097)))),
    ("environment", "sorted", |m| m.environment.0.swap(0, 1)),
    ("environment", "unique", |m| m.environment.0[1].0 = text("A")),
    ("environment", "without '='", |m| m.environment.0[0].0 = text("A=")),
    ("environment", "no NUL", |m| m.environment.0[0].1 = text("\0")),
    ("environment", "names", |m| m.environment.0[0].0 = text("")),
    ("files", "sorted", |m| m.files.0.swap(0, 1)),
    ("files", "unique", |m| m.files.0[1].name = text("a.txt")),
    ("files", "plain name", |m| m.files.0[1].name = text("b/c")),
    ("files", "plain name", |m| m.files.0[0].name = text("..")),
    ("files", "plain name", |m| m.files.0[0].name = text("")),
    ("priority", "0 to 9", |m| m.priority = 10),
    ("tags", "sorted", |m| m.tags.0.swap(0, 1)),
    ("requirements.features", "unique", |m| m.requirements.features.0.push(text("simd"))),
    ("steps", "no other", |m| m.steps = stepped().steps),
];

/// The same for a manifest of a long task.
const BROKEN_STEPS: [(&str, &str, Change); 6] = [
    ("steps", "there for", |m| m.steps = None),
    ("steps", "no other", |m| m.interface = Interface::Command),
    ("steps.budget", "1 unit", |m| m.steps = Some(Steps { budget: 0, segment: MIN_SEGMENT })),
    ("steps.budget", "limits.fuel", |m| {
        m.steps = Some(Steps { budget: u64::MAX, segment: MIN_SEGMENT });
    }),
    ("steps.segment", "2^22", |m| m.steps = Some(Steps { budget: 1, segment: MIN_SEGMENT - 1 })),
    ("steps.segment", "limits.fuel", |m| m.limits.fuel = MIN_SEGMENT - 1),
];

#[test]
fn each_rule_is_checked_and_named() {
    let mut rules = BTreeSet::new();
    let plain = BROKEN.into_iter().map(|broken| (sound(), broken));
    let long = BROKEN_STEPS.into_iter().map(|broken| (stepped(), broken));
    for (mut manifest, (field, word, change)) in plain.chain(long) {
        change(&mut manifest);
        let error = manifest.validate().expect_err(word);
        assert_eq!(error.field, field);
        assert!(error.rule.contains(word), "{error}");
        rules.insert((error.field, error.rule));
    }
    assert_eq!(rules.len(), 18, "every rule is broken by a change of its own");
}

#[test]
fn the_limits_themselves_are_allowed() {
    assert_eq!(sound().validate(), Ok(()));
    let mut most = sound();
    most.inputs = Inputs::Range { from: u64::MAX - u64::from(MAX_TASKS), count: MAX_TASKS };
    (most.limits.fuel, most.limits.memory, most.limits.table) = (MAX_FUEL, 1 << 32, 10_000_000);
    most.argv.0.push(text(&"x".repeat(4096)));
    assert_eq!(most.validate(), Ok(()));
    assert_eq!(stepped().validate(), Ok(()));
    let mut least = stepped();
    least.limits.fuel = MIN_SEGMENT;
    least.steps = Some(Steps { budget: MIN_SEGMENT, segment: MIN_SEGMENT });
    assert_eq!(least.validate(), Ok(()));
}

#[test]
fn segments_are_counted_from_the_fuel_that_each_but_the_last_uses() {
    let segments = |segment, fuel| Steps { budget: 1, segment }.most_segments(fuel);
    assert_eq!([segments(10, 9), segments(10, 10), segments(10, 29)], [1, 2, 3]);
    assert_eq!(segments(0, 9), u64::MAX, "no manifest is valid with it, and nothing divides by it");
}
