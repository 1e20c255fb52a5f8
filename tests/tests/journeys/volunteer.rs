//! Lending a machine: pause, resume, and one sentence that says what it does.

use serde_json::Value;

use crate::world::{Network, guest, number, until};

#[test]
fn a_paused_worker_takes_nothing_until_it_is_resumed() {
    let network = Network::start(2);
    assert!(network.worker(1, "pause").starts_with("Paused by its owner"));
    let job = network.submit(&guest("mersenne"), "2..=9", &["--quorum", "2"]);
    // The other worker has run everything by then: more than one result per task is wanted.
    let done =
        |status: &Value| number(&status["undelivered"]) == 0 && number(&status["voids"]) == 0;
    until("the other's reports", || network.status(2), |seen| seen["credited"] == 8 && done(seen));
    let waiting = network.job(&job);
    assert_eq!((number(&waiting["final"]), &waiting["state"]), (0, &"running".into()));
    let why = network.tell(&["job", "why", &job]).json().remove(0);
    assert!(why["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()), "{why}");
    assert!(network.worker(1, "status").starts_with("Paused by its owner"));
    assert_eq!(network.status(1)["credited"], 0);

    network.worker(1, "resume");
    assert_eq!(network.until_over(&job)["state"], "finished");
    let idle = until(
        "an idle worker",
        || network.worker(1, "status"),
        |said| said.starts_with("Not working: "),
    );
    assert_eq!(idle.lines().count(), 1, "{idle}");
}

#[test]
fn a_worker_told_to_finish_ends_by_itself() {
    let mut network = Network::start(1);
    assert!(network.worker(1, "finish").starts_with("Finish"));
    let worker = &mut network.workers[0];
    let gone = format!("/proc/{}/exe", worker.id());
    until("its end", || std::fs::read_link(&gone).is_err(), |gone| *gone);
    assert_eq!(worker.stop(), Some(0));
}
