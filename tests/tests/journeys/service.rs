//! Under a service manager: what systemd hears of a coordinator and a worker, and that it takes our units.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::world::{Network, Part, binary, call, command, until};

/// Highest exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE: &str = "20";

/// A service manager, as far as a service can tell.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
        Self { socket, path }
    }

    /// The same command as a service of this manager that must give a sign of life every second.
    fn starts<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", "1000000")
    }

    /// Everything that it hears until a message has this line, that one included.
    #[track_caller]
    fn hears(&self, line: &str) -> String {
        let (mut heard, mut message) = (String::new(), [0; 4096]);
        loop {
            let length = self.socket.recv(&mut message);
            let length = length.unwrap_or_else(|e| panic!("no {line:?}, {e}, only {heard:?}"));
            let message = std::str::from_utf8(&message[..length]).unwrap();
            heard.push_str(message);
            if message.lines().any(|said| said.starts_with(line)) {
                return heard;
            }
        }
    }

    /// Whatever has been said and not heard.
    fn rest(&self) -> String {
        self.socket.set_nonblocking(true).unwrap();
        let (mut rest, mut message) = (String::new(), [0; 4096]);
        while let Ok(length) = self.socket.recv(&mut message) {
            rest.push_str(std::str::from_utf8(&message[..length]).unwrap());
        }
        rest
    }
}

fn terminate(part: &Part) {
    let process = Pid::from_raw(i32::try_from(part.id()).unwrap()).unwrap();
    kill_process(process, Signal::TERM).unwrap();
}

#[test]
fn a_coordinator_says_when_it_serves_that_it_lives_and_that_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(folder.path());
    let mut network = Network::start_with(|mut command| {
        manager.starts(&mut command);
        command
    });
    let heard = manager.hears("READY=1");
    assert_eq!(network.get("/readyz").0, 200);
    assert!(heard.contains(&format!("\nSTATUS=Serving at {}.\n", network.url)), "{heard}");
    manager.hears("WATCHDOG=1");
    terminate(&network.coordinator);
    let heard = manager.hears("STOPPING=1");
    assert!(!heard.contains("READY=1"), "once is enough: {heard}");
    assert_eq!(network.coordinator.ended(), Some(0));
}

#[test]
fn a_coordinator_that_cannot_serve_is_never_ready() {
    let network = Network::start(0);
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(folder.path());
    let mut second = command(folder.path());
    second.args(["coordinator", "--listen", network.url.trim_start_matches("http://")]);
    call(manager.starts(&mut second), b"").failed(1);
    assert_eq!(manager.rest(), "");
}

#[test]
fn a_coordinator_whose_disk_is_full_says_so_and_when_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(folder.path());
    let network = Network::start_with(|mut command| {
        manager.starts(&mut command);
        command
    });
    manager.hears("READY=1");
    let process = Pid::from_raw(i32::try_from(network.coordinator.id()).unwrap());
    let grow = |most| {
        let rlimit = Rlimit { current: most, maximum: None };
        prlimit(process, Resource::Fsize, rlimit).unwrap();
    };
    grow(Some(0));
    // What a file has already can still be written, so it may take some commits until one fails.
    until(
        "a refusal for want of space",
        || network.tell(&["admin", "grant", &network.account, "1"]),
        |said| said.code == 4,
    );
    manager.hears("STATUS=Not ready: the database takes no writes.");
    // What a container asks says the same.
    let address = network.url.trim_start_matches("http://").to_owned();
    let health = ["coordinator", "health", "--listen", &address];
    let unhealthy = call(command(folder.path()).args(health), b"");
    assert_eq!(
        (unhealthy.code, &*unhealthy.out),
        (1, "not ready: it is about to stop, or the database takes no writes\n")
    );
    manager.hears("WATCHDOG=1");
    grow(None);
    manager.hears("READY=1");
    assert_eq!(call(command(folder.path()).args(health), b"").good(), "ready\n");
    drop(network);
    let gone = call(command(folder.path()).args(health), b"").failed(1);
    assert!(gone.contains("is not healthy: "), "{gone}");
}

#[test]
fn a_worker_says_what_it_does_and_that_it_stops() {
    let network = Network::start(0);
    let folder = network.folder.path();
    let manager = Manager::new(folder);
    let mut join = command(folder);
    join.args(["--json", "--url", &network.url, "worker", "--state", "served", "join"]);
    let mut worker = Part::start(manager.starts(&mut join), folder, "served");
    assert!(manager.hears("READY=1").starts_with("READY=1\n"));
    manager.hears("STATUS=Not working: ");
    call(command(folder).args(["worker", "--state", "served", "pause"]), b"").good();
    manager.hears("STATUS=Paused by its owner");
    terminate(&worker);
    manager.hears("STOPPING=1");
    assert_eq!(worker.ended(), Some(0));
}

/// The units with the program under test in place of the installed one.
fn units(folder: &Path) -> Vec<PathBuf> {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let copy = |name: &str| {
        let text = std::fs::read_to_string(units.join(name)).unwrap();
        assert_eq!(text.matches("\nExecStart=/usr/bin/tallymill ").count(), 1, "{name}");
        let copy = folder.join(name);
        let own = text.replace("/usr/bin/tallymill", &binary().display().to_string());
        std::fs::write(&copy, own).unwrap();
        copy
    };
    ["tallymill-coordinator.service", "tallymill-worker.service"].map(copy).to_vec()
}

fn analyze(words: &[&str]) -> String {
    let mut analyze = Command::new("systemd-analyze");
    let said = call(analyze.args(words), b"");
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{words:?}: {said:?}");
    said.out
}

#[test]
fn systemd_takes_the_units_and_finds_them_confined() {
    let folder = tempfile::tempdir().unwrap();
    for unit in units(folder.path()) {
        let unit = unit.to_str().unwrap();
        // What it does not know is a warning; `analyze` takes none.
        analyze(&["verify", "--man=no", unit]);
        analyze(&["security", "--offline=yes", "--no-pager", "--threshold", EXPOSURE, unit]);
    }
}

/// The words of all lines of a unit that set this.
fn settings<'u>(unit: &'u str, name: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

/// The system calls that a unit leaves, as systemd reads its groups.
fn calls(unit: &str) -> Vec<String> {
    let mut calls: Vec<String> = Vec::new();
    for line in settings(unit, "SystemCallFilter") {
        let words = line.trim_start_matches('~').split(' ').map(str::to_owned);
        let mut open: Vec<String> = words.collect();
        while let Some(word) = open.pop() {
            if word.starts_with('@') {
                let group = analyze(&["syscall-filter", &word]);
                let members = group.lines().filter_map(|line| line.strip_prefix("    "));
                open.extend(members.filter(|it| !it.starts_with('#')).map(str::to_owned));
            } else if line.starts_with('~') {
                calls.retain(|call| *call != word);
            } else {
                calls.push(word);
            }
        }
    }
    calls
}

/// What the worker's children need to confine themselves, and to run what they compiled, is left to them.
#[test]
fn the_unit_of_the_worker_leaves_what_its_children_need() {
    let folder = tempfile::tempdir().unwrap();
    let unit = std::fs::read_to_string(&units(folder.path())[1]).unwrap();
    let calls = calls(&unit);
    for needed in [
        "capset",
        "prctl",
        "prlimit64",
        "seccomp",
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
        "close_range",
        "memfd_create",
        "execve",
        "clone3",
        "ioctl",
        "mprotect",
        "sigaltstack",
    ] {
        assert!(calls.iter().any(|call| call == needed), "{needed} is not left to children");
    }
    for privileged in ["mount", "ptrace", "bpf", "setpriority", "chroot"] {
        assert!(!calls.iter().any(|call| call == privileged), "{privileged} is left");
    }
    // Compiled modules are executable, and the processor time of children, which cannot be traced, is read in /proc.
    assert_eq!(settings(&unit, "MemoryDenyWriteExecute"), ["no"]);
    assert_eq!(settings(&unit, "ProtectProc"), ["default"]);
}
