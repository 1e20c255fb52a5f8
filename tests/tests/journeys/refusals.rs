//! What the exit code says when something cannot be done, and what is proposed instead.

use crate::world::{Network, call, command, guest};

#[test]
fn a_coordinator_that_does_not_answer_is_exit_code_4() {
    let folder = tempfile::tempdir().unwrap();
    // Bound and never listened to: nobody else gets this port while the test runs.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let said =
        call(command(folder.path()).args(["--url", &url, "credit", "balance"]), b"").failed(4);
    assert!(said.contains(&url) && said.contains("tallymill dev"), "{said}");
}

#[test]
fn words_that_do_not_fit_together_are_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let say = |words: &[&str]| call(command(folder.path()).args(words), b"").failed(2);
    let module = guest("mersenne");
    let module = module.to_str().unwrap();
    assert!(say(&["submit", module, "--range", "9..x"]).contains("FROM..=TO"));
    assert!(say(&["submit", module, "--range", "1..=2", "--quorum", "9"]).contains("1 to 7"));
    assert!(say(&["submit", module]).contains("--range"));
    say(&["fly"]);
}

#[test]
fn a_job_that_cannot_be_paid_is_exit_code_5() {
    let network = Network::start(0);
    let module = guest("mersenne");
    let module = module.to_str().unwrap();
    let words = ["submit", module, "--range", "1..=1000000", "--fuel", "1000000000000"];
    let said = network.tell(&words);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.out.contains("credit balance"), "{said:?}");
    assert_eq!(network.balance(), [10_000_000_000, 0, 0]);
}

#[test]
fn only_an_operator_grants() {
    let network = Network::start(0);
    let mut stranger = command(network.folder.path());
    stranger.args(["--url", &network.url, "--key", "stranger.key"]);
    stranger.args(["admin", "grant", &network.account, "1"]);
    call(&mut stranger, b"").failed(1);
    assert_eq!(network.balance(), [10_000_000_000, 0, 0]);
}
