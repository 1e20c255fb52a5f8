//! A small world: the finished binary, a network of its processes, and waiting for a state of it.

use std::fmt::Debug;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for a state: longer than a lease, because a killed worker's tasks wait for theirs to end.
const PATIENCE: Duration = Duration::from_secs(90);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// A finished binary to test in place of the one in the build folder.
const FINISHED: &str = "TALLYMILL_BINARY";

/// Looks until there is something; a test that waits in vain fails with what it saw last.
pub fn until<T: Debug>(what: &str, mut look: impl FnMut() -> T, good: impl Fn(&T) -> bool) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if good(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "waited in vain for: {what}; last seen: {seen:?}");
        std::thread::park_timeout(LOOK);
    }
}

fn target() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(3).unwrap().to_owned()
}

/// The binary under test, brought up to date once: cargo does not build another package's binary for a test by itself.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        std::env::var_os(FINISHED).map_or_else(
            || {
                let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                let mut build = Command::new(cargo);
                build.args(["build", "--quiet", "--locked", "--package", "tallymill-cli"]);
                let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
                assert!(built.success(), "tallymill-cli does not build");
                target().join("debug/tallymill")
            },
            PathBuf::from,
        )
    })
}

/// A guest's module.
pub fn guest(name: &str) -> PathBuf {
    let path = target().join("guests").join(name).with_extension("wasm");
    assert!(path.is_file(), "{} is missing; run: cargo xtask guests --c", path.display());
    path
}

/// How a call of the binary ended.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Its standard output, when it succeeded.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Its standard error, when it failed with this code.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err
    }

    /// The lines of JSON on its standard output, when it succeeded.
    #[track_caller]
    pub fn json(self) -> Vec<Value> {
        self.good().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A number that travels as text, or as itself.
#[track_caller]
pub fn number(value: &Value) -> i64 {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or_else(|| value.as_i64()).unwrap_or_else(|| panic!("not a number: {value}"))
}

/// The same command, started by another one.
pub fn under(starter: &[&str], command: &Command) -> Command {
    let mut started = Command::new(starter[0]);
    started.args(&starter[1..]).arg(command.get_program()).args(command.get_args());
    started.current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => started.env(name, value),
            None => started.env_remove(name),
        };
    }
    started
}

/// The binary without anything from this test's environment.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(folder).env("HOME", folder);
    for name in [
        "TALLYMILL_URL",
        "TALLYMILL_KEY",
        "TALLYMILL_DATA",
        "TALLYMILL_DATABASE",
        "TALLYMILL_WORKER",
        "TALLYMILL_CONFIG",
        "TALLYMILL_LISTEN",
        "TALLYMILL_NETWORK",
        "TALLYMILL_PUBLIC",
        "TALLYMILL_SHARED",
        "TALLYMILL_CA",
        "TALLYMILL_TLS_CERT",
        "TALLYMILL_TLS_KEY",
        "TALLYMILL_ALLOW_PLAIN_HTTP",
        "TALLYMILL_ADMISSION",
        "TALLYMILL_OPERATORS",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "TALLYMILL_RETENTION",
        "TALLYMILL_BLOBS",
        "TALLYMILL_GRACE",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end, with this standard input.
pub fn call(command: &mut Command, stdin: &[u8]) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program may refuse before it reads; the pipe is closed then.
    let _unread = child.stdin.take().unwrap().write_all(stdin);
    let ended = child.wait_with_output().unwrap();
    Said {
        code: ended.status.code().unwrap_or(-1),
        out: String::from_utf8(ended.stdout).unwrap(),
        err: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

/// A part of a network. Dropping it stops it, by its id, and waits until it is gone.
#[derive(Debug)]
pub struct Part {
    process: std::process::Child,
    out: BufReader<ChildStdout>,
}

impl Part {
    /// Starts it; what it says on standard error is appended to `NAME.log`.
    pub fn start(command: &mut Command, folder: &Path, name: &str) -> Self {
        let log =
            File::options().create(true).append(true).open(folder.join(format!("{name}.log")));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.unwrap());
        let mut process = command.spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The JSON on its next line.
    #[track_caller]
    pub fn says(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("expected JSON, got {line:?}: {e}"))
    }

    /// What it still says until it ends.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits until it ends by itself, and gives its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let end = || self.process.try_wait().unwrap();
        until("the end of a process", end, Option::is_some).and_then(|status| status.code())
    }

    /// Asks it to stop, and gives its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            // An error means that it is gone, which is what is wanted.
            let _gone = kill_process(Pid::from_child(&self.process), Signal::TERM);
        }
        self.process.wait().ok()?.code()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A coordinator and volunteers, each a process.
pub struct Network {
    /// Volunteers by number; they stop before the coordinator does.
    pub workers: Vec<Part>,
    /// The coordinator.
    pub coordinator: Part,
    /// `http://HOST:PORT`.
    pub url: String,
    /// Where everything is kept.
    pub folder: TempDir,
    /// The operator's account, which has 10,000 credits.
    pub account: String,
    /// The address of the coordinator's database, when it is on a server.
    pub database: Option<String>,
}

impl Network {
    /// A coordinator, `workers` volunteers of different owners, and an operator with 10,000 credits.
    pub fn start(workers: usize) -> Self {
        let mut network = Self::start_with(|command| command);
        (0..workers).for_each(|_| network.join());
        network
    }

    /// The same with the coordinator's database at this address.
    pub fn start_on(database: &str, workers: usize) -> Self {
        let mut network = Self::start_with(|mut command| {
            command.env("TALLYMILL_DATABASE", database);
            command
        });
        network.database = Some(database.to_owned());
        (0..workers).for_each(|_| network.join());
        network
    }

    /// The same without volunteers, its coordinator's command changed.
    pub fn start_with(change: impl FnOnce(Command) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("operator.key");
        call(command(folder.path()).args(["key", "new"]).arg(&key), b"").good();
        let account =
            call(command(folder.path()).arg("--key").arg(&key).args(["key", "show"]), b"");
        let account = account.good().trim().to_owned();
        let mut start = change(coordinator(folder.path(), "127.0.0.1:0", &account));
        let mut coordinator = Part::start(&mut start, folder.path(), "coordinator");
        let url = coordinator.says()["listening"].as_str().unwrap().to_owned();
        let (workers, database) = (Vec::new(), None);
        let network = Self { workers, coordinator, url, folder, account, database };
        network.tell(&["admin", "grant", &network.account, "10000"]).good();
        network
    }

    /// One more volunteer.
    pub fn join(&mut self) {
        let name = format!("worker-{}", self.workers.len() + 1);
        let mut join = command(self.folder.path());
        join.args(["--json", "--url", &self.url, "worker", "--state", &name, "join"]);
        let mut worker = Part::start(&mut join, self.folder.path(), &name);
        assert!(worker.says()["host"].is_string());
        self.workers.push(worker);
        // It says that it has joined before it listens to its owner.
        let status = || {
            let mut status = command(self.folder.path());
            call(status.args(["worker", "--state", &name, "status"]), b"").code
        };
        until("a worker that answers", status, |code| *code == 0);
    }

    /// A verb of the operator, with JSON as output.
    pub fn tell(&self, words: &[&str]) -> Said {
        self.tell_as("operator.key", words)
    }

    /// The same signed with this key.
    pub fn tell_as(&self, key: &str, words: &[&str]) -> Said {
        let mut command = command(self.folder.path());
        call(command.args(["--json", "--url", &self.url, "--key", key]).args(words), b"")
    }

    /// A verb to a volunteer, by number from 1, as a person reads it.
    pub fn worker(&self, number: usize, verb: &str) -> String {
        let mut command = command(self.folder.path());
        let state = format!("worker-{number}");
        call(command.args(["worker", "--state", &state, verb]), b"").good()
    }

    /// What a volunteer says of itself, by number from 1.
    pub fn status(&self, number: usize) -> Value {
        let mut command = command(self.folder.path());
        let state = format!("worker-{number}");
        call(command.args(["--json", "worker", "--state", &state, "status"]), b"").json().remove(0)
    }

    /// Submits a job over a range, and gives its id.
    pub fn submit(&self, module: &Path, range: &str, more: &[&str]) -> String {
        let module = module.to_str().unwrap();
        let words = [&["submit", module, "--range", range], more].concat();
        self.tell(&words).json()[0]["id"].as_str().unwrap().to_owned()
    }

    /// A job's totals.
    pub fn job(&self, id: &str) -> Value {
        self.tell(&["job", "show", id]).json().remove(0)
    }

    /// Waits until this many tasks of a job are decided, and gives its totals; they show that it still runs.
    pub fn until_running(&self, id: &str, least: i64) -> Value {
        let job = until("decided tasks", || self.job(id), |job| number(&job["final"]) >= least);
        assert_eq!(job["state"], "running", "too fast to be interrupted: {job}");
        job
    }

    /// Waits until a job is over.
    pub fn until_over(&self, id: &str) -> Value {
        until(
            "the end of the job",
            || self.job(id),
            |job| job["state"] != "running" && job["state"] != "stopping",
        )
    }

    /// The operator's available, pending and held micro-credits.
    pub fn balance(&self) -> [i64; 3] {
        let view = self.tell(&["credit", "balance"]).json().remove(0);
        ["available", "pending", "reserved"].map(|name| number(&view[name]))
    }

    /// Fails unless the ledger keeps every invariant and sums to zero.
    #[track_caller]
    pub fn audit(&self) {
        let report = self.tell(&["admin", "audit"]).json().remove(0);
        assert_eq!(report["offences"].as_array().map(Vec::len), Some(0), "{report}");
        let sums = report["sums"].as_array().unwrap();
        assert!(!sums.is_empty() && sums.iter().all(|sum| number(&sum["sum"]) == 0), "{report}");
    }

    /// Kills the coordinator without warning, and starts it again on the same files, database and port.
    pub fn crash(&mut self) {
        self.coordinator.kill();
        let listen = self.url.trim_start_matches("http://").to_owned();
        let mut start = coordinator(self.folder.path(), &listen, &self.account);
        start.envs(self.database.iter().map(|database| ("TALLYMILL_DATABASE", database)));
        self.coordinator = Part::start(&mut start, self.folder.path(), "coordinator");
        assert_eq!(self.coordinator.says()["listening"], self.url.as_str());
    }

    /// Status and body of a GET request.
    pub fn get(&self, path: &str) -> (u16, String) {
        let authority = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(authority).unwrap();
        // HTTP/1.0 keeps the answer in one piece and ends it by closing.
        let head = format!("host: {authority}\r\ntallymill-protocol: 1\r\n");
        write!(stream, "GET {path} HTTP/1.0\r\n{head}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

/// Settings of a network's coordinator, where a test writes some.
pub const SETTINGS: &str = "coordinator.toml";

fn coordinator(folder: &Path, listen: &str, operator: &str) -> Command {
    let mut command = command(folder);
    command.args(["--json", "coordinator", "--data", "data", "--listen", listen]);
    command.args(["--operator", operator]);
    if folder.join(SETTINGS).exists() {
        command.args(["--config", SETTINGS]);
    }
    command
}

/// The exponents of Mersenne primes up to 2250 (OEIS A000043).
pub const MERSENNE: [u32; 16] =
    [2, 3, 5, 7, 13, 17, 19, 31, 61, 89, 107, 127, 521, 607, 1279, 2203];

/// The exponents that results of the `mersenne` guest call prime.
pub fn primes(results: &[Value]) -> Vec<u32> {
    let answers = results.iter().map(|result| {
        let output = result["output"].as_str().unwrap();
        serde_json::from_str::<Value>(output).unwrap()
    });
    let primes = answers.filter(|answer| answer["prime"] == true);
    primes.map(|answer| u32::try_from(number(&answer["exponent"])).unwrap()).collect()
}

/// Fails unless the job over 2..=1820 has every result, right, and the ledger is sound.
#[track_caller]
pub fn all_is_there(network: &Network, job: &str) -> Value {
    let over = network.until_over(job);
    assert_eq!((&over["state"], number(&over["final"])), (&"finished".into(), 1819), "{over}");
    let results = network.tell(&["job", "results", job]).json();
    assert_eq!((results.len(), primes(&results)), (1819, MERSENNE[..15].to_vec()));
    network.audit();
    over
}
