//! Results whose time is over are collected, also by a coordinator that is killed again and again meanwhile.

use crate::world::{Network, SETTINGS, all_is_there, guest, number, until};

#[test]
fn a_killed_coordinator_goes_on_collecting_and_the_books_stay() {
    let mut network = Network::start(2);
    let job = network.submit(&guest("mersenne"), "2..=1820", &["--fuel", "1200000000"]);
    let spent = number(&all_is_there(&network, &job)["spent"]);
    let kept = network.submit(&guest("mersenne"), "2..=9", &["--fuel", "50000000"]);
    network.tell(&["job", "keep", &kept, "--reason", "a paper"]).good();
    let others = number(&network.until_over(&kept)["spent"]);
    let settings = "[coordinator]\nretention = \"1s\"\n";
    std::fs::write(network.folder.path().join(SETTINGS), settings).unwrap();
    network.crash();
    until("a job that is collected", || network.job(&job), |job| job["collected"].is_string());
    (0..3).for_each(|_| network.crash());
    let mut number_of = 0;
    let verified = || {
        number_of += 1;
        let [into, data] = ["backup", "data"].map(|name| format!("{name}-{number_of}"));
        network.tell(&["coordinator", "backup", &into, "--data", "data"]).good();
        let words = ["coordinator", "restore", &into, "--data", &data, "--verify"];
        network.tell(&words).json().remove(0)["verified"].clone()
    };
    // Whatever is left at a moment holds; in the end only what is kept is.
    let verified =
        until("the last receipt of the job", verified, |it| number(&it["receipts"]) <= 16);
    assert!(number(&verified["reports"]) > 0 && number(&verified["collected"]) > 0, "{verified}");
    network.audit();
    assert_eq!(network.balance(), [10_000_000_000 - spent - others, 0, 0]);
    let over = network.job(&job);
    assert_eq!((&over["state"], number(&over["final"])), (&"finished".into(), 1819));
    let gone = network.tell(&["job", "results", &job]);
    assert!(gone.code == 1 && gone.out.contains("were collected at 20"), "{gone:?}");
    assert_eq!(network.tell(&["job", "results", &kept]).json().len(), 8);
}
