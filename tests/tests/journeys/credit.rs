//! Where credit is when a job ends before its time.

use crate::world::{Network, guest, number};

#[test]
fn a_cancelled_job_pays_what_ran_and_returns_the_rest() {
    let network = Network::start(2);
    let job = network.submit(&guest("mersenne"), "2..=1500", &["--fuel", "500000000"]);
    network.until_running(&job, 1);
    network.tell(&["job", "cancel", &job]).good();
    let over = network.until_over(&job);
    assert_eq!(over["state"], "cancelled");
    let (decided, spent) = (number(&over["final"]), number(&over["spent"]));
    assert!((1..1499).contains(&decided) && spent > 0, "{over}");
    assert_eq!(network.balance(), [10_000_000_000 - spent, 0, 0]);
    network.audit();
}
