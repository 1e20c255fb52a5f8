//! A whole network of processes on this machine: one coordinator, volunteers of different owners.

mod child;
pub(crate) mod group;
mod http;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tallymill_protocol::AccountId;
use tallymill_sdk::{Client, KeyFile};

use crate::database::Place;
use crate::repo;
use child::Child;

/// How long a coordinator may take to listen or to be ready, and a worker to take its first lease.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How often readiness is asked for.
const PROBE: Duration = Duration::from_millis(5);

/// The environment variable that names a finished binary to test in place of one built here.
pub(crate) const FINISHED: &str = "TALLYMILL_BINARY";

/// Where coordinators that take over from each other keep blobs.
const BLOBS: &str = "blobs";

/// The environment variable in which a coordinator finds the address of its database.
const DATABASE: &str = "TALLYMILL_DATABASE";

/// Builds the binary under test, unless a finished one is named, and says where it is.
pub(crate) fn build(release: bool) -> anyhow::Result<PathBuf> {
    if let Some(finished) = std::env::var_os(FINISHED) {
        return Ok(finished.into());
    }
    let mut cargo = repo::cargo();
    cargo.args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        "tallymill-cli",
        "--bin",
        "tallymill",
    ]);
    cargo.args(release.then_some("--release"));
    repo::run(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    Ok(repo::target().join(profile).join("tallymill"))
}

/// A folder below the build folder, on a real disk, removed when dropped.
pub(crate) fn folder(purpose: &str) -> anyhow::Result<tempfile::TempDir> {
    let within = repo::target().join("tmp");
    std::fs::create_dir_all(&within)?;
    let prefix = format!("{purpose}-");
    tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(&within)
        .with_context(|| format!("failed to make a folder in {}", within.display()))
}

/// A volunteer: a worker process that made an owner's key of its own.
pub(crate) struct Volunteer {
    /// Its name in messages.
    pub(crate) name: String,
    /// The folder in which it keeps its keys.
    state: PathBuf,
    process: Child,
}

impl Volunteer {
    /// Key file of its owner.
    pub(crate) fn key(&self) -> PathBuf {
        self.state.join("owner.key")
    }

    /// Key file of the machine.
    pub(crate) fn host_key(&self) -> PathBuf {
        self.state.join("host.key")
    }
}

/// A coordinator's process.
struct Coordinator {
    process: Child,
    /// Host and port.
    authority: String,
    /// Its data directory.
    data: PathBuf,
    /// Whether others take over from it.
    shared: bool,
}

/// A coordinator and its volunteers. Dropping it stops volunteers first, then the coordinator.
pub(crate) struct Network {
    /// The volunteers.
    pub(crate) volunteers: Vec<Volunteer>,
    /// One, or several on one database.
    coordinators: Vec<Coordinator>,
    program: PathBuf,
    folder: PathBuf,
    operator: AccountId,
    /// The address of its database, when that is on a server.
    address: Option<String>,
}

impl Network {
    /// Starts a coordinator that keeps its files in `folder`, and waits until it is ready.
    pub(crate) fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        Self::start_on(program, folder, None)
    }

    /// The same on the database at this address, where there is one.
    pub(crate) fn start_on(
        program: &Path,
        folder: &Path,
        address: Option<String>,
    ) -> anyhow::Result<Self> {
        let operator = KeyFile::create(&folder.join("operator.key"))?.pair().public().into();
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let (volunteers, coordinators) = (Vec::new(), Vec::new());
        let mut network = Self { volunteers, coordinators, program, folder, operator, address };
        let data = network.folder.join("coordinator");
        let first = network.coordinator("127.0.0.1:0", data, false)?;
        network.coordinators.push(first);
        network.await_ready()?;
        Ok(network)
    }

    /// Starts a coordinator's process, and waits until it listens.
    fn coordinator(
        &self,
        listen: &str,
        data: PathBuf,
        shared: bool,
    ) -> anyhow::Result<Coordinator> {
        let mut command = coordinator_command(&self.program, &data, listen, &self.operator);
        if shared {
            command.arg("--shared").arg(format!("http://{listen}"));
            command.arg("--blobs").arg(self.folder.join(BLOBS));
        }
        let address = self.address.as_deref();
        let mut process = start_coordinator(&mut command, &self.folder, address)?;
        let authority = listening(&process.line(PATIENCE)?)?;
        Ok(Coordinator { process, authority, data, shared })
    }

    /// The first coordinator, or the only one.
    fn first(&self) -> &Coordinator {
        // There is one from the start on.
        &self.coordinators[0]
    }

    /// The coordinator's address, or those of all.
    pub(crate) fn url(&self) -> String {
        let urls = self.coordinators.iter().map(|it| format!("http://{}", it.authority));
        urls.collect::<Vec<_>>().join(",")
    }

    /// Process id of the coordinator.
    pub(crate) fn coordinator_id(&self) -> u32 {
        self.first().process.id()
    }

    /// The operator's key file.
    pub(crate) fn operator_key(&self) -> PathBuf {
        self.folder.join("operator.key")
    }

    /// A verb of the binary under test, with this coordinator and a key.
    pub(crate) fn verb(&self, key: &Path) -> Command {
        let mut command = repo::command(&self.program);
        command.arg("--url").arg(self.url()).arg("--key").arg(key);
        command
    }

    /// Starts a worker of an owner of its own.
    pub(crate) fn join(&mut self, name: &str, slots: u32) -> anyhow::Result<()> {
        self.join_as(name, slots, &[])
    }

    /// The same with further options of `worker join`.
    pub(crate) fn join_as(
        &mut self,
        name: &str,
        slots: u32,
        options: &[&str],
    ) -> anyhow::Result<()> {
        let state = self.folder.join(name);
        let mut command = self.worker(&state);
        command.args(["join", "--slots", &slots.to_string()]).args(options);
        let mut process = Child::start(&mut command, name, &self.folder)?;
        // The first line says as which host it joined, or why it could not; from then on its keys exist.
        let line = process.line(PATIENCE)?;
        anyhow::ensure!(joined(&line), "{name} did not join: {line}");
        self.volunteers.push(Volunteer { name: name.to_owned(), state, process });
        Ok(())
    }

    /// Starts a worker that belongs to the customer of this name: trusted jobs run only on their payer's own machines.
    pub(crate) fn join_own(
        &mut self,
        name: &str,
        slots: u32,
        customer: &str,
    ) -> anyhow::Result<()> {
        let state = self.folder.join(name);
        std::fs::create_dir_all(&state)?;
        std::fs::copy(self.folder.join(customer).with_extension("key"), state.join("owner.key"))?;
        self.join(name, slots)
    }

    fn worker(&self, state: &Path) -> Command {
        let mut command = repo::command(&self.program);
        command.args(["--json", "--url"]).arg(self.url()).arg("worker").arg("--state").arg(state);
        command
    }

    /// What a volunteer's worker says of itself.
    pub(crate) fn status(&self, volunteer: &Volunteer) -> anyhow::Result<Value> {
        let said = repo::output(self.worker(&volunteer.state).arg("status"))?;
        serde_json::from_str(&said).with_context(|| format!("not a worker's status: {said}"))
    }

    /// An account that was granted `credits`, and the client that speaks for it.
    pub(crate) async fn customer(&self, name: &str, credits: u64) -> anyhow::Result<Client> {
        let key = KeyFile::create(&self.folder.join(name).with_extension("key"))?;
        let customer = Client::connect(&self.url(), key).await?;
        let operator = Client::connect(&self.url(), KeyFile::load(&self.operator_key())?).await?;
        operator.grant(customer.account(), credits * 1_000_000).await?;
        Ok(customer)
    }

    /// Fails when a process ended that should run.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.coordinators.iter_mut().try_for_each(|it| it.process.check())?;
        self.volunteers.iter_mut().try_for_each(|volunteer| volunteer.process.check())
    }

    /// Kills the coordinator without warning, starts it again on the same files and port, and says how long it took
    /// from its start until it was ready.
    pub(crate) fn crash(&mut self) -> anyhow::Result<Duration> {
        self.coordinators[0].process.kill()?;
        let began = Instant::now();
        self.start_again(0)?;
        self.await_ready()?;
        Ok(began.elapsed())
    }

    /// Starts a coordinator that has ended on the same files and port.
    fn start_again(&mut self, number: usize) -> anyhow::Result<()> {
        let Coordinator { authority, data, shared, .. } = &self.coordinators[number];
        self.coordinators[number] = self.coordinator(authority, data.clone(), *shared)?;
        Ok(())
    }

    fn await_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while !matches!(http::get(&self.first().authority, "/readyz"), Ok((200, _))) {
            self.coordinators[0].process.check()?;
            if Instant::now() > until {
                bail!("the coordinator was not ready within {PATIENCE:?}");
            }
            std::thread::sleep(PROBE);
        }
        Ok(())
    }

    /// What the coordinator says of itself.
    pub(crate) fn about(&self) -> anyhow::Result<Value> {
        let (status, body) = http::get(&self.first().authority, "/api/v1/network")?;
        anyhow::ensure!(status == 200, "GET /api/v1/network answered {status}");
        serde_json::from_str(&body).context("GET /api/v1/network is not JSON")
    }

    /// Receipts that the coordinator took since its start.
    pub(crate) fn receipts(&self) -> anyhow::Result<u64> {
        let (_, text) = http::get(&self.first().authority, "/metrics")?;
        let lines = text.lines().filter(|line| line.starts_with("tallymill_receipts_total{"));
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(counts.sum())
    }

    /// Asks the coordinator to stop, so that its database is at rest.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.volunteers.clear();
        self.coordinators.iter_mut().try_for_each(|it| it.process.stop())
    }

    /// The coordinator's database: on a server, or the one file below its folder that begins as SQLite's do.
    pub(crate) fn database(&self) -> anyhow::Result<Place> {
        if let Some(address) = &self.address {
            return Ok(Place::Server(address.clone()));
        }
        let data = &self.first().data;
        let entries = std::fs::read_dir(data)?.collect::<Result<Vec<_>, _>>()?;
        let files: Vec<PathBuf> =
            entries.into_iter().map(|e| e.path()).filter(|path| is_database(path)).collect();
        match files.as_slice() {
            [file] => Ok(Place::File(file.clone())),
            _ => bail!("{} databases in {}, expected one", files.len(), data.display()),
        }
    }
}

fn is_database(path: &Path) -> bool {
    use std::io::Read as _;
    let mut head = [0; 16];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && &head == b"SQLite format 3\0"
}

/// Takes every setting of a coordinator out of a command's environment, but for its database.
pub(crate) fn without_settings(command: &mut Command) {
    const NAMES: [&str; 14] = [
        "CONFIG",
        "DATA",
        "LISTEN",
        "NETWORK",
        "PUBLIC",
        "BLOBS",
        "SHARED",
        "TLS_CERT",
        "TLS_KEY",
        "ALLOW_PLAIN_HTTP",
        "ADMISSION",
        "OPERATORS",
        "RETENTION",
        "GRACE",
    ];
    for name in NAMES {
        command.env_remove(format!("TALLYMILL_{name}"));
    }
}

fn coordinator_command(program: &Path, data: &Path, listen: &str, operator: &AccountId) -> Command {
    let mut command = repo::command(program);
    // What is measured is not how a coordinator is set up elsewhere.
    without_settings(&mut command);
    command.args(["--json", "coordinator", "--listen", listen]);
    command.arg("--data").arg(data);
    command.args(["--operator", &operator.to_string()]);
    command
}

/// Starts a coordinator. The address holds a password, so it is no argument.
fn start_coordinator(
    command: &mut Command,
    folder: &Path,
    address: Option<&str>,
) -> anyhow::Result<Child> {
    match address {
        Some(address) => command.env(DATABASE, address),
        None => command.env_remove(DATABASE),
    };
    Child::start(command, "coordinator", folder)
}

/// Whether a worker's first line names the host that it became.
fn joined(line: &str) -> bool {
    let said: Value = serde_json::from_str(line).unwrap_or_default();
    said.get("host").is_some_and(Value::is_string)
}

/// Host and port from the line that a coordinator prints once it listens.
fn listening(line: &str) -> anyhow::Result<String> {
    let said: Value = serde_json::from_str(line).unwrap_or_default();
    let url = said.get("listening").and_then(Value::as_str);
    let authority = url.and_then(|url| url.trim_end_matches('/').strip_prefix("http://"));
    authority.map(str::to_owned).with_context(|| format!("expected an address, got: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_first_line() {
        let line = r#"{"listening":"http://127.0.0.1:4711/","more":1}"#;
        assert_eq!(listening(line).unwrap(), "127.0.0.1:4711");
        let error = listening("address in use").unwrap_err().to_string();
        assert!(error.contains("address in use"), "{error}");
    }

    #[test]
    fn only_a_worker_with_a_host_has_joined() {
        assert!(joined(r#"{"host":"ab","owner":"cd"}"#));
        assert!(!joined(r#"{"error":"refused","exit":1}"#));
    }

    #[test]
    fn a_database_is_known_by_its_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (yes, no) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&yes, b"SQLite format 3\0rest").unwrap();
        std::fs::write(&no, b"SQLite").unwrap();
        assert_eq!([is_database(&yes), is_database(&no)], [true, false]);
    }
}
