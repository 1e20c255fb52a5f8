//! Power cuts: a process is killed without warning while a job runs.

use crate::world::{MERSENNE, Network, guest, number, primes};

/// Fails unless the job over 2..=1820 has every result, right, and the ledger is sound.
#[track_caller]
fn all_is_there(network: &Network, job: &str) {
    let over = network.until_over(job);
    assert_eq!((&over["state"], number(&over["final"])), (&"finished".into(), 1819), "{over}");
    let results = network.tell(&["job", "results", job]).json();
    assert_eq!((results.len(), primes(&results)), (1819, MERSENNE[..15].to_vec()));
    assert_eq!(network.balance(), [10_000_000_000 - number(&over["spent"]), 0, 0]);
    network.audit();
}

#[test]
fn a_killed_coordinator_loses_no_result_and_no_credit() {
    let mut network = Network::start(2);
    let job = network.submit(&guest("mersenne"), "2..=1820", &["--fuel", "1200000000"]);
    for kill in 1..=3 {
        let before = number(&network.until_running(&job, kill * 100)["final"]);
        network.crash();
        let after = number(&network.job(&job)["final"]);
        assert!(after >= before, "{before} decided before kill {kill}, {after} after");
    }
    all_is_there(&network, &job);
}

#[test]
fn a_killed_worker_leaves_its_tasks_to_another() {
    let mut network = Network::start(3);
    let job = network.submit(&guest("mersenne"), "2..=1820", &["--fuel", "1200000000"]);
    network.until_running(&job, 1);
    network.workers[2].kill();
    all_is_there(&network, &job);
}
