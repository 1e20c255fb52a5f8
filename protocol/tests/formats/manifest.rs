//! Each rule of a manifest, broken by itself.

use std::collections::BTreeSet;

use tallymill_protocol::cbor::{List, Text};
use tallymill_protocol::{
    AccountId, CoordinatorId, Digest, File, Inputs, Interface, Limits, MAX_FUEL, MAX_TASKS,
    Manifest, Micros, Network, Nonce, Policy, Requirements, Tariff, Versions, Visibility,
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
    }
}

type Change = fn(&mut Manifest);

/// Field, a word of its rule, and a change that breaks that rule alone.
const BROKEN: [(&str, &str, Change); 25] = [
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
];

#[test]
fn each_rule_is_checked_and_named() {
    let mut rules = BTreeSet::new();
    for (field, word, change) in BROKEN {
        let mut manifest = sound();
        change(&mut manifest);
        let error = manifest.validate().expect_err(word);
        assert_eq!(error.field, field);
        assert!(error.rule.contains(word), "{error}");
        rules.insert((error.field, error.rule));
    }
    assert_eq!(rules.len(), 15, "every rule is broken by a change of its own");
}

#[test]
fn the_limits_themselves_are_allowed() {
    assert_eq!(sound().validate(), Ok(()));
    let mut most = sound();
    most.inputs = Inputs::Range { from: u64::MAX - u64::from(MAX_TASKS), count: MAX_TASKS };
    (most.limits.fuel, most.limits.memory, most.limits.table) = (MAX_FUEL, 1 << 32, 10_000_000);
    most.argv.0.push(text(&"x".repeat(4096)));
    assert_eq!(most.validate(), Ok(()));
}
