//! A coordinator's machine is lost: what was backed up while a job ran goes on elsewhere.

use crate::world::{Network, all_is_there, guest, number};

#[test]
fn a_job_goes_on_from_a_backup_that_was_made_while_it_ran() {
    let mut network = Network::start(2);
    let job = network.submit(&guest("mersenne"), "2..=1820", &["--fuel", "1200000000"]);
    network.until_running(&job, 1);
    let backup =
        network.tell(&["coordinator", "--data", "data", "backup", "backup"]).json().remove(0);
    // More is decided and paid, which the backup does not know.
    let known = number(&network.job(&job)["final"]);
    network.until_running(&job, known + 1);
    network.coordinator.kill();
    std::fs::rename(network.folder.path().join("data"), network.folder.path().join("lost"))
        .unwrap();
    let words = ["coordinator", "restore", "backup", "--data", "data", "--verify"];
    let restored = network.tell(&words).json().remove(0);
    assert_eq!(restored["restored"], backup);
    assert!(number(&restored["verified"]["reports"]) > 0, "{restored}");
    network.crash();
    let spent = number(&all_is_there(&network, &job)["spent"]);
    assert_eq!(network.balance(), [10_000_000_000 - spent, 0, 0]);
    let again = network.tell(&["coordinator", "backup", "backup", "--data", "data"]);
    assert!(again.code == 1 && again.out.contains("is there already"), "{again:?}");
}
