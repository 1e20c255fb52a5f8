//! The first ten minutes: `dev`, a job, its results, what it cost, and whether that is true.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::world::{MERSENNE, Network, Part, call, command, guest, number, primes, until};

/// A byte of the middle of a field's text, replaced by another of the same alphabet.
fn flip(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] = if bytes[middle] == b'4' { b'5' } else { b'4' };
    String::from_utf8(bytes).unwrap()
}

/// Writes a copy of a receipt with one byte of one field flipped.
fn tamper(folder: &Path, receipt: &str, field: &str) -> String {
    let text = std::fs::read(folder.join(receipt)).unwrap();
    let mut document: Value = serde_json::from_slice(&text).unwrap();
    document[field] = flip(document[field].as_str().unwrap()).into();
    let name = format!("tampered-{field}.json");
    std::fs::write(folder.join(&name), document.to_string()).unwrap();
    name
}

#[test]
fn dev_runs_a_job_whose_results_price_and_receipts_hold() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut dev = command(folder);
    // The database of a coordinator elsewhere is none of its business.
    dev.env("TALLYMILL_DATABASE", "postgres://nobody@127.0.0.1:1/absent");
    let mut dev =
        Part::start(dev.args(["--json", "dev", "--listen", "127.0.0.1:0"]), folder, "dev");
    let url = dev.says()["url"].as_str().unwrap().to_owned();
    let tell = |words: &[&str]| {
        let common = ["--json", "--url", &url, "--key", ".tallymill/account.key"];
        call(command(folder).args(common).args(words), b"")
    };
    let module = guest("mersenne");
    let range = ["--range", "2..=40", "--quorum", "2", "--wait"];
    let said = tell(&[&["submit", module.to_str().unwrap()], range.as_slice()].concat()).json();
    let (job, results) = (said[0]["id"].as_str().unwrap(), &said[2..]);
    assert_eq!((results.len(), primes(results)), (39, MERSENNE[..8].to_vec()));

    let spent = number(&tell(&["job", "show", job]).json()[0]["spent"]);
    let balance = tell(&["credit", "balance"]).json().remove(0);
    assert!(spent > 0);
    assert_eq!(number(&balance["available"]) + spent, 25_000_000_000);
    assert_eq!((number(&balance["pending"]), number(&balance["reserved"])), (0, 0));

    tell(&["job", "receipt", job, "5", "--out", "receipt.json"]).good();
    tell(&["verify", "receipt.json"]).good();
    for field in ["receipt", "report", "lease", "manifest"] {
        tell(&["verify", &tamper(folder, "receipt.json", field)]).failed(3);
    }
    assert_eq!(dev.stop(), Some(0));
}

/// Says so much on standard error that it travels as a blob.
const TALKER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func (export "_start")
        (memory.fill (i32.const 16) (i32.const 120) (i32.const 100000))
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.const 100000))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

#[test]
fn a_log_that_travels_as_a_blob_is_shown_to_its_payer() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("talker.wasm"), wat::parse_str(TALKER).unwrap()).unwrap();
    let mut dev = command(folder);
    let mut dev =
        Part::start(dev.args(["--json", "dev", "--listen", "127.0.0.1:0"]), folder, "dev");
    let url = dev.says()["url"].as_str().unwrap().to_owned();
    let tell = |json: &[&str], words: &[&str]| {
        let common = ["--url", &url, "--key", ".tallymill/account.key"];
        call(command(folder).args(json).args(common).args(words), b"")
    };
    let submit = ["submit", "talker.wasm", "--range", "0..=0", "--quorum", "2", "--wait"];
    let said = tell(&["--json"], &submit).json();
    let logs = tell(&[], &["job", "logs", said[0]["id"].as_str().unwrap(), "0"]).good();
    let lines: Vec<&str> = logs.lines().collect();
    assert_eq!(lines, vec!["x".repeat(100_000); 2], "one from each host");
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn a_local_receipt_holds_until_a_byte_of_it_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let module = guest("mersenne");
    std::fs::write(folder.join("in"), "2203").unwrap();
    let mut run = command(folder);
    run.arg("run").arg(&module).args(["--stdin", "in", "--receipt", "r.json"]);
    assert!(call(&mut run, b"").good().contains("\"prime\":true"));
    let verify = |receipt: &str| {
        let mut verify = command(folder);
        verify.args(["verify", receipt, "--stdin", "in", "--module"]).arg(&module);
        call(&mut verify, b"")
    };
    verify("r.json").good();
    for field in ["fuel", "output", "memory_fuel", "input", "module"] {
        let said = verify(&tamper(folder, "r.json", field)).failed(3);
        assert!(said.contains("not verified"), "{field}: {said}");
    }
}

#[test]
fn whoever_stops_waiting_leaves_the_job_running() {
    let network = Network::start(0);
    let folder = network.folder.path();
    let mut submit = command(folder);
    submit.args(["--url", &network.url, "--key", "operator.key", "submit", "--wait"]);
    submit.arg(guest("mersenne")).args(["--range", "2..=9", "--fuel", "50000000"]);
    let mut waiting = Part::start(&mut submit, folder, "submit");
    let log = || std::fs::read_to_string(folder.join("submit.log")).unwrap();
    until("a look at the job", log, |said| said.contains("0 of 8 decided"));
    let process = Pid::from_raw(i32::try_from(waiting.id()).unwrap()).unwrap();
    kill_process(process, Signal::INT).unwrap();
    assert_eq!(waiting.ended(), Some(130));
    let said = log();
    let (_, job) = said.split_once("the job goes on. See: tallymill job show ").unwrap();
    assert_eq!(network.job(job.trim())["state"], "running");
}
