//! A key is replaced, and what was and will be signed can still be judged by everybody.

use crate::world::{Network, call, command, guest, until};

/// An address at which nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn receipts_from_before_and_after_a_rotation_are_verified_offline() {
    let network = Network::start(2);
    let module = guest("mersenne");
    let verify = |file: &str| {
        let mut verify = command(network.folder.path());
        verify.args(["--url", NOBODY, "--key", "nobody.key", "verify", file, "--module"]);
        call(verify.arg(&module), b"")
    };
    let before = network.submit(&module, "2..=9", &[]);
    assert_eq!(network.until_over(&before)["state"], "finished");
    network.tell(&["key", "rotate", "next.key"]).good();

    let submit = ["submit", module.to_str().unwrap(), "--range", "2..=9"];
    network.tell(&submit).failed(1);
    let after = network.tell_as("next.key", &submit).json()[0]["id"].as_str().unwrap().to_owned();
    let ended = |job: &serde_json::Value| job["state"] == "finished";
    let show = || network.tell_as("next.key", &["job", "show", &after]).json().remove(0);
    until("the end of the job", show, ended);
    for (job, file) in [(&before, "before.json"), (&after, "after.json")] {
        network.tell_as("next.key", &["job", "receipt", job, "3", "--out", file]).good();
        verify(file).good();
    }

    let path = network.folder.path().join("after.json");
    let text = std::fs::read(&path).unwrap();
    let mut evidence: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert!(evidence.as_object_mut().unwrap().remove("keys").is_some());
    std::fs::write(&path, evidence.to_string()).unwrap();
    verify("after.json").failed(3);
    assert!(!network.folder.path().join("nobody.key").exists(), "no key was needed");
}

#[test]
fn an_owner_whose_key_is_lost_goes_on_with_the_recovery_key() {
    let network = Network::start(1);
    let shown = network.tell_as("worker-1/owner.key", &["key", "show"]).json().remove(0);
    let account = shown["account"].as_str().unwrap();
    let rotate = |recovery: &str, next: &str| {
        let words = ["key", "rotate", next, "--recovery", recovery, "--account", account];
        network.tell_as("nobody.key", &words)
    };
    rotate("operator.key", "stolen.key").failed(1);
    let moved = rotate("worker-1/owner-recovery.key", "next.key").json().remove(0);
    assert_eq!(moved["account"].as_str(), Some(account));
    assert!(!network.folder.path().join("nobody.key").exists(), "the lost key was not needed");

    let balance = |key: &str| network.tell_as(key, &["credit", "balance"]);
    assert_eq!(balance("next.key").json()[0]["id"].as_str(), Some(account));
    balance("worker-1/owner.key").failed(1);
    // The recovery key belonged to the key that was lost.
    rotate("worker-1/owner-recovery.key", "again.key").failed(1);
}
