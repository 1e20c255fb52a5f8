//! A coordinator that is set up by a file, variables and flags.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::world::{Part, Said, call, command};

const FILE: &str = r#"
    [coordinator]
    data = "from-file"
    blobs = "blobs-from-file"
    listen = "127.0.0.1:0"
    network = "file/net"
    tls-cert = "cert.pem"
    tls-key = "key.pem"
    admission = "approved"
    operators = ["1111111111111111111111111111111111111111111111111111111111111111"]
    retention = "90d"
    grace = "2d"
"#;

fn show(folder: &Path, change: impl FnOnce(&mut Command) -> &mut Command) -> Said {
    let mut show = command(folder);
    show.args(["--json", "config", "show", "--config", "settings.toml"]);
    call(change(&mut show), b"")
}

/// Value and origin of a setting.
fn of(shown: &Value, name: &str) -> [String; 2] {
    let all = shown["coordinator"].as_array().unwrap();
    let found = all.iter().find(|setting| setting["name"] == name).unwrap();
    ["value", "origin"].map(|field| found[field].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_flag_beats_its_variable_that_beats_the_file_and_that_the_default() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("settings.toml"), FILE).unwrap();
    let said = show(folder.path(), |show| {
        show.env("TALLYMILL_NETWORK", "variable/net").env("TALLYMILL_ADMISSION", "closed");
        show.env("TALLYMILL_DATABASE", "postgres://m:s3cret@h/mill");
        show.env("TALLYMILL_TLS_KEY", "other.pem");
        show.env("TALLYMILL_GRACE", "36h");
        show.args(["--admission", "open", "--allow-plain-http"])
    });
    let text = said.good();
    assert!(!text.contains("s3cret"), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(of(&shown, "admission"), ["open", "flag"]);
    assert_eq!(of(&shown, "network"), ["variable/net", "environment"]);
    assert_eq!(of(&shown, "database"), ["postgres://m@h:5432/mill", "environment"]);
    assert_eq!(of(&shown, "data"), ["from-file", "file settings.toml"]);
    assert_eq!(of(&shown, "blobs"), ["blobs-from-file", "file settings.toml"]);
    assert_eq!(of(&shown, "operators"), ["11".repeat(32).as_str(), "file settings.toml"]);
    assert_eq!(of(&shown, "public"), ["", "default"]);
    assert_eq!(of(&shown, "tls-cert"), ["cert.pem", "file settings.toml"]);
    assert_eq!(of(&shown, "tls-key"), ["other.pem", "environment"]);
    assert_eq!(of(&shown, "allow-plain-http"), ["true", "flag"]);
    assert_eq!(of(&shown, "retention"), ["90d", "file settings.toml"]);
    assert_eq!(of(&shown, "grace"), ["36h", "environment"]);
    let several = show(folder.path(), |show| {
        show.env("TALLYMILL_BLOBS", "from-variable");
        show.env("TALLYMILL_OPERATORS", ["22".repeat(32), "33".repeat(32)].join(","))
    });
    let shown: Value = serde_json::from_str(&several.good()).unwrap();
    let both = [["22".repeat(32), "33".repeat(32)].join(","), "environment".to_owned()];
    assert_eq!(of(&shown, "operators"), both);
    assert_eq!(of(&shown, "blobs"), ["from-variable", "environment"]);
    let mut plain = command(folder.path());
    let plain = call(plain.args(["config", "show", "--origin"]), b"").good();
    assert_eq!(plain.lines().count(), 14);
    assert!(plain.contains("127.0.0.1:7411") && plain.contains("forever"), "{plain}");
}

#[test]
fn a_file_that_says_what_is_no_setting_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    for (text, why) in [
        ("[coordinator]\nlistn = \"x\"", "line 2: unknown field `listn`, expected one of `data`"),
        ("[coordinator]\n\nlisten = \"x\"", "line 3: invalid socket address"),
        ("[coordinator]\ndatabase = \"s3cret", "line 2: "),
        ("[worker]\n", "line 1: unknown field `worker`"),
        ("[coordinator]\nadmission = \"some\"", "admission some: open, approved or closed"),
        ("[coordinator]\noperators = [\"x\"]", "operator x: "),
        ("[coordinator]\nretention = \"90\"", "retention 90: a number and s, m, h or d"),
        ("[coordinator]\nretention = \"\"", "retention : a number and s, m, h or d"),
        ("[coordinator]\nretention = \"99999999999999d\"", "retention 99999999999999d: a number"),
        ("[coordinator]\ngrace = \"59m\"", "grace 59m: 1h at least"),
        ("[coordinator]\ngrace = \"forever\"", "grace forever: a number"),
        ("[coordinator]\nnetwork = \"\"", "network: 1 to 128 bytes"),
        ("[coordinator]\ndatabase = \"mysql://m:s3cret@h/mill\"", "database: "),
    ] {
        std::fs::write(folder.path().join("settings.toml"), text).unwrap();
        let said = show(folder.path(), |show| show);
        assert_eq!(said.code, 2, "{text}: {said:?}");
        assert!(said.out.contains(why) && !said.out.contains("s3cret"), "{text}: {said:?}");
    }
    let mut missing = command(folder.path());
    let missing = call(missing.args(["coordinator", "--config", "nowhere.toml"]), b"").failed(1);
    assert!(missing.contains("failed to read the settings in nowhere.toml"), "{missing}");
}

#[test]
fn a_coordinator_starts_from_a_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file: String =
        FILE.lines().filter(|line| !line.contains("tls-")).map(|l| format!("{l}\n")).collect();
    std::fs::write(folder.path().join("settings.toml"), file).unwrap();
    let mut start = command(folder.path());
    start.args(["--json", "coordinator"]).env("TALLYMILL_CONFIG", "settings.toml");
    let mut coordinator = Part::start(&mut start, folder.path(), "coordinator");
    let url = coordinator.says()["listening"].as_str().unwrap().to_owned();
    assert!(folder.path().join("from-file/coordinator.key").exists());
    assert!(folder.path().join("blobs-from-file").exists());
    let mut balance = command(folder.path());
    balance.args(["--json", "--url", &url, "--key", "new.key", "credit", "balance"]);
    call(&mut balance, b"").good();
    assert_eq!(coordinator.stop(), Some(0));
}
