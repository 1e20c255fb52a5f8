//! A coordinator on PostgreSQL: a job from end to end, a kill, a server that restarts, and a password that nobody sees.

use tallymill_postgres::{PASSWORD, Server, shared};

use crate::world::{Network, all_is_there, call, command, guest, number, until};

#[test]
fn a_network_on_postgresql_pays_what_it_verified_and_survives_a_kill() {
    let mut network = Network::start_on(&shared().database().unwrap(), 2);
    let about = network.get("/api/v1/network").1;
    assert!(about.contains(r#""database":"postgres""#), "{about}");
    assert!(about.contains(r#""synchronous":"full""#), "{about}");
    let job = network.submit(&guest("mersenne"), "2..=1820", &["--fuel", "1200000000"]);
    let before = number(&network.until_running(&job, 100)["final"]);
    network.crash();
    let after = number(&network.job(&job)["final"]);
    assert!(after >= before, "{before} decided before the kill, {after} after");
    let spent = number(&all_is_there(&network, &job)["spent"]);
    assert_eq!(network.balance(), [10_000_000_000 - spent, 0, 0]);
    network.tell(&["job", "receipt", &job, "5", "--out", "receipt.json"]).good();
    network.tell(&["verify", "receipt.json"]).good();
    let credited =
        || number(&network.status(1)["credited"]) + number(&network.status(2)["credited"]);
    until("credit for every result", credited, |credited| *credited >= 2 * 1819);
    assert!(!network.folder.path().join("data/tallymill.db").exists(), "nothing is kept twice");
}

#[test]
fn a_server_that_restarts_under_load_is_said_and_survived() {
    let server = Server::start().unwrap();
    let network = Network::start_on(&server.database().unwrap(), 2);
    let job = network.submit(&guest("mersenne"), "2..=1820", &["--fuel", "1200000000"]);
    let before = number(&network.until_running(&job, 100)["final"]);
    server.crash().unwrap();
    let refused = network.tell(&["admin", "grant", &network.account, "1"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    until("unreadiness", || network.get("/readyz").0, |status| *status == 503);
    assert_eq!(network.get("/livez").0, 200);
    server.start_again().unwrap();
    until("readiness", || network.get("/readyz").0, |status| *status == 200);
    let after = network.job(&job);
    assert!(number(&after["final"]) >= before, "{before} were decided: {after}");
    all_is_there(&network, &job);
}

/// What a coordinator says that cannot start on this database, given on its command line, and with which exit code.
fn refusal(database: &str, code: i32) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut start = command(folder.path());
    start.args(["-vvv", "coordinator", "--listen", "127.0.0.1:0", "--database", database]);
    let said = call(&mut start, b"");
    assert!(!said.out.contains(PASSWORD), "{}", said.out);
    said.failed(code)
}

#[test]
fn a_password_in_the_databases_address_is_never_shown() {
    let address = shared().database().unwrap();
    let (place, name) = address.rsplit_once('/').unwrap();
    let (user, _) = place.rsplit_once('@').unwrap();
    for (database, code, part) in [
        (format!("{place}/absent"), 1, "\"absent\" does not exist"),
        (
            format!("{user}@127.0.0.1:1/{name}"),
            1,
            "open the database postgres://tallymill@127.0.0.1:1/",
        ),
        (format!("{user}@127.0.0.1:port/{name}"), 2, "invalid port"),
        (format!("{address}?pasword={PASSWORD}"), 2, "unknown parameter 'pasword'"),
        (address.replace("postgres:", "mysql:"), 2, "'mysql:' is none of them"),
    ] {
        let said = refusal(&database, code);
        assert!(said.contains(part) && !said.contains(PASSWORD), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut help = command(folder.path());
    help.env("TALLYMILL_DATABASE", &address).args(["coordinator", "--help"]);
    let said = call(&mut help, b"").good();
    assert!(said.contains("TALLYMILL_DATABASE") && !said.contains(PASSWORD), "{said}");
    let mut network = Network::start_with(|mut command| {
        command.env("TALLYMILL_DATABASE", &address).arg("-vvv");
        command
    });
    assert_eq!(network.coordinator.stop(), Some(0));
    let log = std::fs::read_to_string(network.folder.path().join("coordinator.log")).unwrap();
    assert!(log.contains("postgres://tallymill@") && !log.contains(PASSWORD), "{log}");
}
