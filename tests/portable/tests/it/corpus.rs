//! A part of the corpus, in every run of the tests.

use tallymill_portable::{Campaign, families};

/// Modules compared here; campaigns compare many more.
const MODULES: u64 = 2_000;

#[test]
fn two_thousand_modules_end_alike_on_all_engines() {
    let report = Campaign {
        modules: MODULES,
        seed: 0,
        threads: 2,
        emulated: None,
        family: None,
        stop_at: 1,
    }
    .run(|_| ())
    .unwrap();
    if let Some(found) = report.found.first() {
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        panic!("seed {}: {:?} {:?}", found.seed, found.save(folder).unwrap(), found.difference);
    }
    let tally = report.tally;
    assert!(tally.modules >= MODULES, "{tally:?}");
    assert_eq!(report.engines.len(), 6, "{:?}", report.engines);
    for family in families() {
        assert!(
            tally.families.get(family).is_some_and(|count| *count >= 20),
            "{family}: {tally:?}"
        );
    }
}
