//! Who may come in, and who may not go on, as the operator says.

use crate::world::{Network, guest};

#[test]
fn an_operator_lets_an_account_in_and_lifts_a_suspension() {
    let network = Network::start_with(|mut command| {
        command.args(["--admission", "approved"]);
        command
    });
    let newcomer = |words: &[&str]| network.tell_as("newcomer.key", words);
    // The first call makes the key and publishes the account.
    newcomer(&["credit", "balance"]);
    let account = newcomer(&["key", "show"]).json().remove(0)["account"].clone();
    let account = account.as_str().unwrap();
    let module = guest("mersenne");
    let submit = ["submit", module.to_str().unwrap(), "--range", "2..=5"];
    network.tell(&["admin", "grant", account, "1"]);
    assert_ne!(newcomer(&submit).code, 0, "waits to be let in");
    network.tell(&["admin", "approve", account]).good();
    network.tell(&["admin", "grant", account, "1"]);
    newcomer(&submit).good();
    network.tell(&["admin", "suspend", "account", account, "a test"]).good();
    assert_ne!(newcomer(&submit).code, 0, "suspended");
    network.tell(&["admin", "lift", "account", account, "over"]).good();
    newcomer(&submit).good();
}
