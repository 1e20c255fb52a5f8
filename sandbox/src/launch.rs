//! Starting children and talking to them without ever blocking on one that does not answer.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::confine::{Confinement, MOST_RUN_MEMORY};
use crate::wire::{self, WireError};

/// Most bytes read from a child in one turn.
const READ_BYTES: usize = 64 << 10;

/// How children are started, and what one that compiles may use.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    show_errors: bool,
    compile: CompileLimits,
    confinement: Confinement,
}

/// What one compilation may use; beyond it the child is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time, seconds.
    pub cpu_seconds: u64,
    /// Address space besides the program's own, bytes.
    pub memory: u64,
}

impl Default for CompileLimits {
    /// 10 s and 1 GiB: a module at the screening limits takes about half of each.
    fn default() -> Self {
        Self { cpu_seconds: 10, memory: 1 << 30 }
    }
}

impl Launcher {
    /// Children are further processes of the running program, whose `main` must call [`child_main`](crate::child_main) first.
    ///
    /// # Errors
    /// When the program's path cannot be found out.
    pub fn current_exe() -> io::Result<Self> {
        std::env::current_exe().map(Self::program)
    }

    /// Children run this program, whose `main` must call [`child_main`](crate::child_main) first.
    #[must_use]
    pub fn program(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            show_errors: false,
            compile: CompileLimits::default(),
            confinement: Confinement::Required,
        }
    }

    /// Says what children do when this kernel cannot confine them; without this they do not start to work.
    #[must_use]
    pub const fn with_confinement(mut self, confinement: Confinement) -> Self {
        self.confinement = confinement;
        self
    }

    /// Lets children write to this process's standard error, for finding faults of the sandbox itself.
    #[must_use]
    pub const fn with_errors_shown(mut self) -> Self {
        self.show_errors = true;
        self
    }

    /// Lets compilations use other amounts than the default.
    #[must_use]
    pub const fn with_compile_limits(mut self, limits: CompileLimits) -> Self {
        self.compile = limits;
        self
    }

    /// What children do when they cannot be confined, as their argument.
    pub(crate) const fn confinement(&self) -> &'static str {
        self.confinement.word()
    }

    /// What one compilation may use.
    pub(crate) const fn compile_limits(&self) -> CompileLimits {
        self.compile
    }

    /// Starts a child with `input` as descriptor 0.
    pub(crate) fn start(&self, arguments: &[&str], input: Option<&File>) -> io::Result<Link> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().current_dir("/");
        command.stdin(
            input.map_or_else(|| Ok(Stdio::null()), |file| file.try_clone().map(Stdio::from))?,
        );
        command.stdout(OwnedFd::from(theirs));
        command.stderr(if self.show_errors { Stdio::inherit() } else { Stdio::null() });
        Ok(Link {
            child: spawn(command)?,
            born: Instant::now(),
            stream: ours,
            outgoing: Vec::new(),
            sent: 0,
            incoming: Vec::new(),
            taken: 0,
        })
    }
}

struct Birth {
    command: Command,
    answer: Sender<io::Result<Child>>,
}

/// Starts a process from a thread that never ends: children are killed when the thread that started them ends, and threads of
/// callers come and go.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Option<Sender<Birth>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = channel::<Birth>();
        let births = move || {
            for mut birth in receiver {
                // Whoever asked may have gone; the child then ends with its stream.
                let _ = birth.answer.send(birth.command.spawn());
            }
        };
        std::thread::Builder::new().name("spawner".into()).spawn(births).ok().map(|_| sender)
    });
    let gone = || io::Error::other("the thread that starts children is not there");
    let (answer, child) = channel();
    spawner.as_ref().ok_or_else(gone)?.send(Birth { command, answer }).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

/// Why a child is of no more use.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Its stream ended: how the process ended.
    Died(String),
    /// It sent what cannot be.
    Nonsense(String),
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Self::Nonsense(error.to_string())
    }
}

/// A running child and the stream to it. Dropping it kills the child.
#[derive(Debug)]
pub(crate) struct Link {
    child: Child,
    born: Instant,
    stream: UnixStream,
    outgoing: Vec<u8>,
    sent: usize,
    incoming: Vec<u8>,
    taken: usize,
}

impl Link {
    /// The child's process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Time since it was started.
    pub(crate) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// Lets a child that runs have `bytes` of writable memory in all.
    pub(crate) fn grant(&self, bytes: u64) -> io::Result<()> {
        let child = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // The child inherited this process's hard limit and lowered it; it is not to be raised again.
        let own = getrlimit(Resource::Data).maximum.unwrap_or(u64::MAX);
        let most = own.min(MOST_RUN_MEMORY);
        prlimit(
            child,
            Resource::Data,
            Rlimit { current: Some(bytes.min(most)), maximum: Some(most) },
        )?;
        Ok(())
    }

    /// Where frames for the child are put; [`Link::turn`] sends them.
    pub(crate) const fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// Whether everything put was sent.
    pub(crate) fn is_sent(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// The next frame that came as a whole.
    pub(crate) fn frame(&mut self, limit: u64) -> Result<Option<&[u8]>, Broken> {
        let Some((_, used)) = wire::split(&self.incoming[self.taken..], limit)? else {
            self.incoming.drain(..self.taken);
            self.taken = 0;
            return Ok(None);
        };
        let start = self.taken;
        self.taken += used;
        Ok(Some(&self.incoming[start + 4..self.taken]))
    }

    /// Waits until something can be sent or read, `wake` is readable, or `until` has come; then sends and reads what is possible.
    pub(crate) fn turn(
        &mut self,
        until: Instant,
        wake: Option<BorrowedFd<'_>>,
    ) -> Result<(), Broken> {
        let wanted = if self.is_sent() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let stream = self.stream.as_fd();
        let mut fds = vec![PollFd::new(&stream, wanted)];
        fds.extend(wake.as_ref().map(|wake| PollFd::new(wake, PollFlags::IN)));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Broken::Nonsense(format!("poll: {error}"))),
        }
        self.send();
        self.receive()
    }

    /// Sends what fits; that the child is gone shows in [`Link::receive`].
    fn send(&mut self) {
        while self.sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(count) if count > 0 => self.sent += count,
                _ => return,
            }
        }
        self.outgoing.clear();
        self.sent = 0;
    }

    fn receive(&mut self) -> Result<(), Broken> {
        self.incoming.reserve(READ_BYTES);
        match rustix::io::read(&self.stream, spare_capacity(&mut self.incoming)) {
            Ok(0) => Err(self.died()),
            Ok(_) | Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(()),
            Err(_) => Err(self.died()),
        }
    }

    fn died(&mut self) -> Broken {
        // It closed its stream, so it ends by itself or is of no use: a status of its own shows only if it is not killed first.
        let status = self.child.try_wait().ok().flatten().map_or_else(|| self.end(), Ok);
        Broken::Died(status.map_or_else(|error| error.to_string(), |status| status.to_string()))
    }

    fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // It may be dead already; either way it is waited for, so that no zombie stays.
        let _ = self.end();
        let _ = self.child.wait();
    }
}
