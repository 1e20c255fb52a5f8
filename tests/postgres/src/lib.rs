//! A real PostgreSQL server of one's own: made, started and thrown away by whoever needs one.
//!
//! It listens on a free port of 127.0.0.1 and on a socket in its folder, asks for a password over TCP, and keeps what it
//! commits as one in production does. PostgreSQL refuses to run as root, so root starts it as another user. A small shell
//! script keeps it and waits at the end of a pipe: when the process that started the server is gone, however it went, the
//! pipe closes, and the script stops the server by its own process id and removes its files.

mod found;

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

pub use found::{User, programs, user};

/// How often another port is tried when somebody was quicker.
const TRIES: u32 = 5;

/// The superuser's password over TCP.
pub const PASSWORD: &str = "a-password-that-nobody-prints";

/// A server. Dropping it stops it and removes its files.
#[derive(Debug)]
pub struct Server {
    bin: PathBuf,
    folder: PathBuf,
    user: Option<User>,
    port: u16,
    made: AtomicU32,
    making: Mutex<()>,
    keeper: Child,
    /// Closing it ends the keeper.
    pipe: Option<ChildStdin>,
}

/// The one server of this process. It is stopped when the process ends.
///
/// # Panics
/// When there is none to be had: a test that needs one fails, and never passes over it.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    #[expect(clippy::panic, reason = "only tests share a server, and they fail without one")]
    SHARED.get_or_init(|| {
        Server::start().unwrap_or_else(|error| panic!("no PostgreSQL server: {error}"))
    })
}

impl Server {
    /// Starts a server with its files in the folder for temporary files.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start; the error ends with its log.
    pub fn start() -> io::Result<Self> {
        Self::start_in(&std::env::temp_dir())
    }

    /// Starts a server with its files in a folder below `parent`, or in the folder for temporary files where the server's
    /// user may not enter `parent`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_in(parent: &Path) -> io::Result<Self> {
        let (bin, user) = (programs()?, user()?);
        let parent = match user {
            Some(_) if !open_to_all(parent) => std::env::temp_dir(),
            _ => parent.to_owned(),
        };
        let mut started = Self::attempt(&bin, user, &parent);
        for _ in 1..TRIES {
            match &started {
                Err(error) if error.to_string().contains("Address already in use") => {
                    started = Self::attempt(&bin, user, &parent);
                }
                _ => break,
            }
        }
        started
    }

    fn attempt(bin: &Path, user: Option<User>, parent: &Path) -> io::Result<Self> {
        let folder = private(parent)?;
        std::fs::write(folder.path().join("password"), PASSWORD)?;
        if let Some(User { id, group }) = user {
            chown(folder.path(), Some(id), Some(group))?;
            chown(folder.path().join("password"), Some(id), Some(group))?;
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut keeper = as_user(Path::new("sh"), user);
        keeper.args(["-c", include_str!("keeper.sh"), "sh"]).arg(bin).arg(folder.path());
        keeper.arg(port.to_string()).current_dir(folder.path());
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A key that interrupts the tests reaches their group; the keeper ends when they have.
        let mut keeper = keeper.process_group(0).spawn()?;
        // From here on the keeper removes the folder.
        let folder = folder.keep();
        ready(&mut keeper)?;
        let (made, making, pipe) = (AtomicU32::new(0), Mutex::new(()), keeper.stdin.take());
        Ok(Self { bin: bin.to_owned(), folder, user, port, made, making, keeper, pipe })
    }

    /// Makes an empty database, and gives its address.
    ///
    /// # Errors
    /// When the server does not make it.
    pub fn database(&self) -> io::Result<String> {
        let name = format!("mill{}", self.made.fetch_add(1, Ordering::Relaxed));
        let one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let mut create = as_user(&self.bin.join("createdb"), self.user);
        create.arg("--host").arg(&self.folder).args(["--port", &self.port.to_string()]);
        create.args(["--username", "tallymill", "--template", "template0", &name]);
        run(&mut create)?;
        drop(one);
        Ok(self.address(&name))
    }

    /// The address of a database, over TCP, with the password.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        format!("postgres://tallymill:{PASSWORD}@127.0.0.1:{}/{name}", self.port)
    }

    /// Where its data, its socket and its log are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The id of its first process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn id(&self) -> io::Result<u32> {
        let noted = std::fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        let id = noted.lines().next().and_then(|line| line.trim().parse().ok());
        id.ok_or_else(|| io::Error::other("the server's note of its process is empty"))
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Stops it as a loss of power would: nothing is written any more, connections break.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn crash(&self) -> io::Result<()> {
        run(self.control().args(["-m", "immediate", "-w", "stop"]))
    }

    /// Starts it again on the same files and port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&self) -> io::Result<()> {
        run(self.control().arg("-l").arg(self.folder.join("log")).args(["-w", "start"]))
    }

    /// Changes its settings for all sessions to come: a line of its configuration.
    ///
    /// # Errors
    /// When the file cannot be written or the server does not read it.
    pub fn configure(&self, line: &str) -> io::Result<()> {
        use std::io::Write as _;
        let file = self.folder.join("data/postgresql.conf");
        writeln!(std::fs::File::options().append(true).open(file)?, "{line}")?;
        run(self.control().arg("reload"))
    }

    /// Starts it again with a certificate of its own, and gives the file of the authority that signed it.
    ///
    /// # Errors
    /// When there is no `openssl` to make it, which Debian's package of the server brings along.
    pub fn with_tls(&self) -> io::Result<PathBuf> {
        let mut make = as_user(Path::new("sh"), self.user);
        run(make.args(["-c", include_str!("tls.sh"), "sh"]).arg(&self.folder))?;
        self.crash()?;
        self.start_again()?;
        Ok(self.folder.join("ca.pem"))
    }

    fn control(&self) -> Command {
        let mut control = as_user(&self.bin.join("pg_ctl"), self.user);
        control.arg("-D").arg(self.folder.join("data")).current_dir(&self.folder);
        control
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Nothing more can be done for a keeper that is gone.
        let _gone = self.keeper.wait();
    }
}

/// A new folder that its owner alone may enter: whoever reaches the socket in it needs no password.
fn private(parent: &Path) -> io::Result<tempfile::TempDir> {
    let mut folder = tempfile::Builder::new();
    folder.prefix("tallymill-pg-").permissions(std::fs::Permissions::from_mode(0o700));
    folder.tempdir_in(parent)
}

/// A program run by the server's user, with nothing from our environment that PostgreSQL would read.
fn as_user(program: &Path, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    if let Some(User { id, group }) = user {
        command.uid(id).gid(group);
    }
    command
}

/// Runs to the end; what it says is the error when it fails. Standard output goes nowhere: a server that is started keeps
/// it open.
fn run(command: &mut Command) -> io::Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut said = String::new();
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    if let Some(mut error) = child.stderr.take() {
        error.read_to_string(&mut said)?;
    }
    let program = Path::new(command.get_program()).display().to_string();
    Err(io::Error::other(format!("{program} ended with {status}: {said}")))
}

/// Waits until the keeper says that the server listens; its error is why it does not.
fn ready(keeper: &mut Child) -> io::Result<()> {
    let (mut line, mut said) = (String::new(), String::new());
    if let Some(out) = keeper.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    if line == "ready\n" {
        return Ok(());
    }
    if let Some(mut error) = keeper.stderr.take() {
        error.read_to_string(&mut said)?;
    }
    keeper.wait()?;
    Err(io::Error::other(format!("PostgreSQL did not start: {said}")))
}

/// Whether every user may enter a folder and those above it.
fn open_to_all(folder: &Path) -> bool {
    let may_enter = |folder: &Path| {
        std::fs::metadata(folder).is_ok_and(|it| it.permissions().mode() & 0o1 == 1)
    };
    folder.canonicalize().is_ok_and(|folder| folder.ancestors().all(may_enter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_made_stopped_started_again_and_removed() {
        let server = Server::start().unwrap();
        let (first, second) = (server.database().unwrap(), server.database().unwrap());
        assert!(first != second && first.contains(&server.port().to_string()));
        server.crash().unwrap();
        assert!(server.database().is_err());
        server.start_again().unwrap();
        server.database().unwrap();
        let folder = server.folder().to_owned();
        let process = server.id().unwrap();
        assert!(runs(process));
        drop(server);
        assert!(!runs(process), "the server is stopped");
        assert!(!folder.exists(), "its files are removed");
    }

    /// Whether a process runs. One that has ended may stay in the table until its adoptive parent, the system's first process,
    /// looks after it, which takes some of those a while.
    fn runs(process: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // PID (NAME) STATE …
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_some_and(|state| state != 'Z' && state != 'X')
    }

    #[test]
    fn a_folder_of_one_user_is_closed_to_the_servers() {
        let folder = private(&std::env::temp_dir()).unwrap();
        assert!(open_to_all(&std::env::temp_dir()) && !open_to_all(folder.path()));
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = run(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("no luck"), "{error}");
    }
}
