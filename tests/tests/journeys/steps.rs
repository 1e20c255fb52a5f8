//! A long task outlives the machine that began it: killed half-way, it goes on elsewhere from its last checkpoint.

use std::path::Path;

use serde_json::Value;

use crate::world::{Network, call, command, guest, number, until};

/// Lucas–Lehmer of an exponent for which it takes some hundred billion fuel.
const EXPONENT: &str = "11213";
/// Fuel of a step and of a segment.
const STEPS: &str = "100000000:9000000000";
const FUEL: &str = "120000000000";

/// What an undisturbed run on this machine comes to.
fn alone(folder: &Path) -> Value {
    let module = guest("lehmer");
    let mut run = command(folder);
    run.args(["--json", "run", "--steps", STEPS, "--fuel", FUEL]).arg(module);
    call(&mut run, EXPONENT.as_bytes()).json().remove(0)
}

fn submit(network: &Network) -> String {
    let input = network.folder.path().join("exponent");
    std::fs::write(&input, EXPONENT).unwrap();
    let module = guest("lehmer");
    let words = ["submit", module.to_str().unwrap(), "--stdin", input.to_str().unwrap()];
    let words = [&words[..], &["--steps", STEPS, "--fuel", FUEL]].concat();
    network.tell(&words).json()[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_task_whose_worker_is_killed_half_way_finishes_elsewhere_with_the_same_output_and_fuel() {
    let mut network = Network::start(2);
    let job = submit(&network);
    // Paid segments are agreed ones, twice 9 credits each: two are behind the task, and ten before it.
    until("two segments", || network.job(&job), |job| number(&job["spent"]) > 36_000_000);
    assert_eq!(network.job(&job)["state"], "running", "too fast to be interrupted");
    network.workers[0].kill();
    network.join();
    let over = network.until_over(&job);
    assert_eq!((&over["state"], number(&over["final"])), (&"finished".into(), 1), "{over}");
    assert!(network.status(3)["credited"].as_u64() > Some(0), "the newcomer went on with it");
    let result = network.tell(&["job", "results", &job]).json().remove(0);
    let alone = alone(network.folder.path());
    assert_eq!(result["output"], alone["output"]);
    assert_eq!(number(&result["fuel"]), number(&alone["fuel"]));
    let answer: Value = serde_json::from_str(result["output"].as_str().unwrap()).unwrap();
    assert_eq!(answer["prime"], true, "11213 is the exponent of a Mersenne prime");

    // Every machine was paid for what it did, and a stranger can run any part of it again.
    for segment in [Some("1"), None] {
        let file = network.folder.path().join("evidence.json");
        let out = file.to_str().unwrap();
        let words = ["job", "receipt", &job, "0", "--out", out];
        let more = segment.map_or(vec![], |segment| vec!["--segment", segment]);
        network.tell(&[&words[..], &more].concat()).good();
        network.tell(&["verify", out]).good();
    }
    network.audit();
}
