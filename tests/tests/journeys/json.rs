//! `--json`: every verb says JSON on standard output, one document a line, and nothing else.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::world::{Network, Part, Said, call, command, guest};

/// Verbs that go on until they are stopped.
const LASTING: [&str; 3] = ["dev", "coordinator", "worker join"];

/// Every verb of the binary, found by its man pages: those commands that have no commands of their own.
fn verbs(folder: &Path) -> BTreeSet<String> {
    call(command(folder).args(["man", "man"]), b"").good();
    let pages = std::fs::read_dir(folder.join("man")).unwrap();
    let name = |page: std::io::Result<std::fs::DirEntry>| {
        let name = page.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".1").unwrap().replace('-', " ")
    };
    let names: BTreeSet<String> = pages.map(name).collect();
    let ends = |name: &&String| !names.iter().any(|other| other.starts_with(&format!("{name} ")));
    let verb = |name: &String| name.strip_prefix("tallymill ").unwrap().to_owned();
    names.iter().filter(ends).map(verb).collect()
}

/// A network, and which of the verbs have been tried on it.
struct Tried {
    network: Network,
    left: RefCell<BTreeSet<String>>,
}

impl Tried {
    /// Calls a verb with JSON as output, and gives what it said: something, and nothing but JSON.
    #[track_caller]
    fn tell_as(&self, key: &str, verb: &str, words: &[&str]) -> Vec<Value> {
        self.left.borrow_mut().remove(verb);
        let verb: Vec<&str> = verb.split(' ').collect();
        let said = self.network.tell_as(key, &[&verb, words].concat());
        assert_eq!(said.code, 0, "{verb:?}: {said:?}");
        documents(&said)
    }

    #[track_caller]
    fn tell(&self, verb: &str, words: &[&str]) -> Vec<Value> {
        self.tell_as("operator.key", verb, words)
    }
}

/// The documents on standard output: one at least, each an object on a line of its own.
#[track_caller]
fn documents(said: &Said) -> Vec<Value> {
    let read = |line: &str| serde_json::from_str(line).unwrap_or(Value::Null);
    let documents: Vec<Value> = said.out.lines().map(read).collect();
    assert!(!documents.is_empty() && documents.iter().all(Value::is_object), "{said:?}");
    documents
}

fn text<'d>(document: &'d Value, field: &str) -> &'d str {
    document[field].as_str().unwrap_or_else(|| panic!("no text {field} in {document}"))
}

#[test]
fn every_verb_says_json_and_nothing_else() {
    let network = Network::start(2);
    let folder = network.folder.path().to_owned();
    let left = verbs(&folder).into_iter().filter(|verb| !LASTING.contains(&verb.as_str()));
    let tried = Tried { left: RefCell::new(left.collect()), network };
    of_jobs(&tried);
    of_a_job_that_waits(&tried);
    of_accounts(&tried);
    of_a_machine(&tried);
    of_keys(&tried);
    of_a_coordinator(&tried);
    assert_eq!(*tried.left.borrow(), BTreeSet::new(), "verbs whose --json nobody looks at");
}

fn of_a_coordinator(tried: &Tried) {
    let shown = tried.tell("config show", &[]).remove(0);
    assert_eq!(shown["coordinator"][0]["name"], "data");
    let address = tried.network.url.trim_start_matches("http://");
    let health = tried.tell("coordinator health", &["--listen", address]).remove(0);
    assert_eq!((&health["ready"], text(&health, "address")), (&Value::Bool(true), address));
    let made = tried.tell("coordinator backup", &["backup", "--data", "data"]).remove(0);
    let restored = tried.tell("coordinator restore", &["backup", "--data", "elsewhere"]).remove(0);
    assert_eq!((&restored["restored"], &restored["verified"]), (&made, &Value::Null));
}

fn of_jobs(tried: &Tried) {
    let module = guest("mersenne");
    let module = module.to_str().unwrap();
    let words = [module, "--range", "2..=3", "--fuel", "50000000"];
    let quote = tried.tell("quote", &words).remove(0);
    let price = |field: &str| text(&quote, field).parse::<u64>().unwrap();
    assert!((1..price("cap")).contains(&price("estimate")), "{quote}");
    let made = tried.tell("submit", &words).remove(0);
    let job = text(&made, "id");
    assert_eq!(tried.tell("job watch", &[job])[0]["state"], "finished");
    assert_eq!(tried.tell("job list", &[])[0]["id"], job);
    assert_eq!(tried.tell("job show", &[job])[0]["id"], job);
    assert_eq!(tried.tell("job results", &[job]).len(), 2);
    let written = tried.tell("job results", &[job, "--into", "results"]);
    assert_eq!((written.len(), text(&written[1], "file")), (2, "results/1"));
    tried.tell("job logs", &[job, "0"]);
    tried.tell("job why", &[job]);
    assert_eq!(tried.tell("job keep", &[job, "--reason", "a paper"])[0]["kept"], true);
    assert_eq!(tried.tell("job show", &[job])[0]["held"], true);
    assert_eq!(tried.tell("job release", &[job])[0]["kept"], false);
    let receipt = tried.tell("job receipt", &[job, "1", "--out", "receipt.json"]).remove(0);
    assert_eq!((text(&receipt, "id"), text(&receipt, "file")), (job, "receipt.json"));
    tried.tell("verify", &["receipt.json"]);
    std::fs::write(tried.network.folder.path().join("two"), "2").unwrap();
    tried.tell("run", &[module, "--stdin", "two"]);
}

/// With two owners a job for three of them cannot end by itself.
fn of_a_job_that_waits(tried: &Tried) {
    let module = guest("mersenne");
    let words = ["--range", "2..=3", "--fuel", "50000000", "--quorum", "3"];
    let made = tried.tell("submit", &[&[module.to_str().unwrap()], words.as_slice()].concat());
    let job = text(&made[0], "id");
    let said = tried.tell("job cancel", &[job]).remove(0);
    assert_eq!((text(&said, "id"), &said["cancelled"]), (job, &Value::Bool(true)));
}

fn of_accounts(tried: &Tried) {
    tried.tell("open", &[]);
    tried.tell("credit balance", &[]);
    tried.tell("credit statement", &[]);
    let other = tried.tell("key new", &["other.key"]).remove(0);
    let other = text(&other, "account");
    tried.tell_as("other.key", "credit balance", &[]);
    tried.tell("admin grant", &[other, "1"]);
    tried.tell("admin approve", &[other]);
    tried.tell("admin suspend", &["account", other, "a test"]);
    tried.tell("admin lift", &["account", other, "over"]);
    tried.tell("admin audit", &[]);
}

fn of_a_machine(tried: &Tried) {
    let state = ["--state", "worker-1"];
    let status = tried.tell("worker status", &state);
    for verb in ["worker pause", "worker resume", "worker finish"] {
        tried.tell(verb, &state);
    }
    assert!(!status.is_empty());
    // Its exit code says what this machine can do.
    tried.left.borrow_mut().remove("worker doctor");
    documents(&tried.network.tell(&["worker", "doctor"]));
}

fn of_keys(tried: &Tried) {
    let account = text(&tried.tell("key show", &[])[0], "account").to_owned();
    let rotated = tried.tell("key rotate", &["next.key"]).remove(0);
    assert_eq!(text(&rotated, "account"), account);
    assert_eq!(tried.tell_as("next.key", "key show", &[])[0], rotated);
    let view = std::fs::read(tried.network.folder.path().join("worker-2/membership.json"));
    let view: Value = serde_json::from_slice(&view.unwrap()).unwrap();
    let host = text(&view, "host");
    let revoked = tried.tell_as("worker-2/owner.key", "key revoke", &[host]).remove(0);
    assert_eq!((text(&revoked, "host"), &revoked["withdrawn"]), (host, &Value::Bool(true)));
    assert!(text(&tried.tell("completions", &["bash"])[0], "script").contains("tallymill"));
    assert_eq!(text(&tried.tell("man", &["pages"])[0], "folder"), "pages");
}

#[test]
fn what_lasts_says_one_document_and_nothing_when_it_stops() {
    let mut network = Network::start(1);
    let folder = network.folder.path().to_owned();
    let mut dev = command(&folder);
    dev.args(["--json", "dev", "--listen", "127.0.0.1:0", "--workers", "1", "--state", "dev"]);
    let mut dev = Part::start(&mut dev, &folder, "dev");
    assert!(dev.says()["url"].is_string());
    // The other two have said theirs when the network started.
    let mut worker = network.workers.remove(0);
    for part in [&mut dev, &mut worker, &mut network.coordinator] {
        assert_eq!(part.stop(), Some(0));
        assert_eq!(part.rest(), "");
    }
}

#[test]
fn errors_are_json_too_also_those_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    for (words, code) in [
        (["job", "show", "nonsense"].as_slice(), 2),
        (&["job", "nonsense"], 2),
        (&["run", "no.wasm"], 1),
    ] {
        let said = call(command(folder.path()).arg("--json").args(words), b"");
        let document = documents(&said).remove(0);
        assert_eq!((said.code, &document["exit"]), (code, &code.into()), "{words:?}: {said:?}");
        assert_eq!((said.err.as_str(), text(&document, "error").is_empty()), ("", false));
    }
}
