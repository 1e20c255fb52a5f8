//! A network over https: whom clients trust, and what is refused with which words.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::world::{Network, Part, Said, call, command, guest, number, until};

/// Writes `NAME.pem`, an authority, and `NAME-cert.pem` with `NAME-key.pem`, a server of it at this address.
fn certify(folder: &Path, name: &str, address: &str) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec![address.to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    let write = |end: &str, text: String| {
        let path = folder.join(format!("{name}{end}.pem"));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("", authority.pem());
    write("-cert", server.pem());
    write("-key", key.serialize_pem());
}

/// A coordinator that speaks TLS, and its operator.
struct Secure {
    coordinator: Part,
    url: String,
    folder: TempDir,
}

impl Secure {
    fn start(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certify(folder.path(), "ours", address);
        let tell = |words: &[&str]| call(command(folder.path()).args(words), b"").good();
        tell(&["key", "new", "operator.key"]);
        let account = tell(&["--key", "operator.key", "key", "show"]);
        let mut start = command(folder.path());
        start.args(["--json", "coordinator", "--listen", "127.0.0.1:0"]);
        start.args(["--operator", account.trim()]);
        start.env("TALLYMILL_TLS_CERT", "ours-cert.pem").args(["--tls-key", "ours-key.pem"]);
        let mut coordinator = Part::start(&mut start, folder.path(), "coordinator");
        let url = coordinator.says()["listening"].as_str().unwrap().to_owned();
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        Self { coordinator, url, folder }
    }

    fn command(&self, url: &str, words: &[&str]) -> Command {
        let mut command = command(self.folder.path());
        command.args(["--json", "--url", url, "--key", "operator.key"]).args(words);
        command
    }

    /// A verb of the operator, who trusts the authority.
    fn tell(&self, words: &[&str]) -> Said {
        call(self.command(&self.url, words).env("TALLYMILL_CA", "ours.pem"), b"")
    }

    fn join(&self, state: &str) -> Part {
        let words = ["--ca", "ours.pem", "worker", "--state", state, "join"];
        let mut worker =
            Part::start(&mut self.command(&self.url, &words), self.folder.path(), state);
        assert!(worker.says()["host"].is_string());
        worker
    }
}

#[test]
fn health_is_asked_for_over_tls_by_the_certificate_in_the_file() {
    let mut secure = Secure::start("mill.example");
    certify(secure.folder.path(), "theirs", "127.0.0.1");
    let address = secure.url.strip_prefix("https://").unwrap().to_owned();
    let asked = |cert: &str, key: &str| {
        let mut command = command(secure.folder.path());
        command.args(["coordinator", "health", "--listen", &address]);
        command.env("TALLYMILL_TLS_CERT", cert).env("TALLYMILL_TLS_KEY", key);
        call(&mut command, b"")
    };
    // Its name is another one: who asks is on the same machine and has the file.
    assert_eq!(asked("ours-cert.pem", "ours-key.pem").good(), "ready\n");
    let other = asked("theirs-cert.pem", "theirs-key.pem").failed(1);
    assert!(other.contains("is not healthy: "), "{other}");
    let none = asked("ours-key.pem", "ours-key.pem").failed(1);
    assert!(none.contains("no BEGIN CERTIFICATE"), "{none}");
    secure.coordinator.stop();
}

#[test]
fn a_job_runs_over_https_for_those_who_trust_the_authority() {
    let mut secure = Secure::start("127.0.0.1");
    let account = secure.tell(&["key", "show"]).json().remove(0)["account"].clone();
    secure.tell(&["admin", "grant", account.as_str().unwrap(), "100"]).good();
    let mut workers = [secure.join("worker-1"), secure.join("worker-2")];
    let module = guest("mersenne");
    let words = ["submit", module.to_str().unwrap(), "--range", "2..=31"];
    let job = secure.tell(&words).json().remove(0)["id"].as_str().unwrap().to_owned();
    let show = || secure.tell(&["job", "show", &job]).json().remove(0);
    let over = until("the end of the job", show, |job| job["state"] != "running");
    assert_eq!((over["state"].as_str(), number(&over["final"])), (Some("finished"), 30), "{over}");
    assert_eq!(secure.tell(&["job", "results", &job]).json().len(), 30);
    workers.iter_mut().for_each(|worker| assert_eq!(worker.stop(), Some(0)));
    assert_eq!(secure.coordinator.stop(), Some(0));
}

#[track_caller]
fn fails(said: &Said, code: i32, words: &str) {
    assert_eq!(said.code, code, "{said:?}");
    assert!(said.out.contains(words), "{words}: {said:?}");
}

#[test]
fn who_is_not_to_be_trusted_is_refused_with_what_to_do() {
    let secure = Secure::start("127.0.0.1");
    certify(secure.folder.path(), "another", "127.0.0.1");
    let say = |url: &str, ca: Option<&str>, words: &[&str]| {
        call(secure.command(url, words).envs(ca.map(|ca| ("TALLYMILL_CA", ca))), b"")
    };
    let balance = ["credit", "balance"];
    for ca in [None, Some("another.pem")] {
        fails(&say(&secure.url, ca, &balance), 4, "with --ca (TALLYMILL_CA) if you trust it");
        fails(&say(&secure.url, ca, &["worker", "join"]), 1, "with --ca (TALLYMILL_CA)");
    }
    let plain = secure.url.replace("https:", "http:");
    fails(&say(&plain, None, &balance), 1, "dial https:// and not http://");
    fails(&say(&plain, None, &["worker", "join"]), 1, "this port speaks https");
    let by_name = secure.url.replace("127.0.0.1", "localhost");
    let words = "not for localhost but for 127.0.0.1";
    fails(&say(&by_name, Some("ours.pem"), &balance), 4, words);
    fails(&say(&secure.url, Some("nowhere.pem"), &balance), 2, "authorities in nowhere.pem");
    fails(&say(&secure.url, Some("ours-key.pem"), &balance), 2, "no BEGIN CERTIFICATE");
    fails(&say("coordinator.example", None, &balance), 2, "it looks like https://host");
}

#[test]
fn https_to_a_port_of_plain_http_is_told_so() {
    let network = Network::start(0);
    let url = network.url.replace("http:", "https:");
    certify(network.folder.path(), "ours", "127.0.0.1");
    let mut command = command(network.folder.path());
    command.args(["--json", "--url", &url, "--ca", "ours.pem", "credit", "balance"]);
    fails(&call(&mut command, b""), 4, "speaks no TLS: is it http:// and not https://?");
}

#[test]
fn a_coordinator_says_nothing_in_the_open_unless_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let say = |words: &[&str]| call(command(folder.path()).arg("--json").args(words), b"");
    for verb in [&["coordinator"][..], &["config", "show"]] {
        let words = [verb, &["--listen", "0.0.0.0:0"]].concat();
        fails(&say(&words), 2, "0.0.0.0:0 can be reached from elsewhere");
    }
    assert!(!folder.path().join("coordinator").exists(), "nothing is made before it is refused");
    fails(&say(&["dev", "--listen", "0.0.0.0:0"]), 1, "name a certificate with --tls-cert");
    let allowed = ["config", "show", "--listen", "0.0.0.0:0", "--allow-plain-http"];
    say(&allowed).good();
}

#[test]
fn files_that_cannot_be_used_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), "ours", "127.0.0.1");
    let say = |words: &[&str]| {
        let mut start = command(folder.path());
        call(start.args(["--json", "coordinator", "--listen", "127.0.0.1:0"]).args(words), b"")
    };
    let both = ["--tls-cert", "ours-cert.pem", "--tls-key", "ours-key.pem"];
    fails(&say(&both[..2]), 2, "tls-key: a certificate needs its key");
    fails(&say(&both[2..]), 2, "tls-cert: a key needs its certificate");
    let key = folder.path().join("ours-key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    fails(&say(&both), 1, "has mode 644; make it 600");
    std::fs::remove_file(key).unwrap();
    fails(&say(&both), 1, "ours-key.pem cannot be read");
}
