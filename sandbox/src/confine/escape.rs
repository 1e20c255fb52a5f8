//! Children that try to get out: each makes one attempt under the confinement of a real child and tells what came of it.
//!
//! This is how `worker doctor` knows what holds on a machine, and how the tests know that a layer works. An attempt that succeeds
//! does no harm.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, getppid, setrlimit, test_kill_process};

use super::{Role, confine, tighten};
use crate::child::{argument, stream};
use crate::launch::CompileLimits;
use crate::wire::Finding;

/// Name of what is no attempt: the child tells its layers.
pub(crate) const LAYERS: &str = "layers";

/// Something that a child must not be able to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// What it tries, in words; also its name.
    pub(crate) name: &'static str,
    act: fn(parent: Pid) -> io::Result<()>,
}

/// All attempts.
pub(crate) const ATTEMPTS: &[Attempt] = &[
    Attempt { name: "read a file", act: |_| File::open("/").map(drop) },
    Attempt { name: "create a file", act: create },
    Attempt { name: "look up a path", act: |_| fs::metadata("/").map(drop) },
    Attempt { name: "open a TCP port", act: |_| TcpListener::bind("127.0.0.1:0").map(drop) },
    Attempt { name: "open a UDP port", act: |_| UdpSocket::bind("127.0.0.1:0").map(drop) },
    Attempt { name: "open a Unix socket", act: |_| UnixDatagram::unbound().map(drop) },
    Attempt { name: "send its parent a signal", act: signal },
    Attempt { name: "trace its parent", act: trace },
    Attempt { name: "open its parent's memory", act: open_memory },
    Attempt { name: "copy its parent's memory", act: copy_memory },
    Attempt { name: "run a program", act: |_| Err(Command::new("/bin/true").exec()) },
    Attempt { name: "start a process", act: fork },
    Attempt { name: "start a thread", act: |_| std::thread::Builder::new().spawn(|| {}).map(drop) },
    Attempt { name: "make memory executable", act: make_executable },
    Attempt { name: "share memory", act: share_memory },
    Attempt { name: "raise a limit", act: raise_limit },
    Attempt { name: "write to its module", act: write_module },
    Attempt { name: "cut its module", act: |_| Ok(rustix::fs::ftruncate(io::stdin(), 0)?) },
    Attempt { name: "use a leaked descriptor", act: use_leaked },
];

/// The names of roles, as arguments. "free" is not confined at all: it shows that the attempts are real.
pub(crate) const ROLES: [&str; 3] = ["run", "compile", "free"];

/// A child that makes one attempt, or tells its layers.
pub(crate) fn child(arguments: &mut impl Iterator<Item = OsString>) -> io::Result<()> {
    let (role, name): (String, String) = (argument(arguments)?, argument(arguments)?);
    let CompileLimits { cpu_seconds, memory } = CompileLimits::default();
    let parent = getppid().ok_or_else(|| io::Error::other("no parent"))?;
    let layers = match role.as_str() {
        "run" => confine(Role::Run { cpu_seconds }, || ()).0,
        "compile" => confine(Role::Compile { cpu_seconds, memory }, || ()).0,
        _ => Vec::new(),
    };
    if role == "run" {
        // A kernel that lacks this shows it by what the attempts come to.
        let _ = tighten();
    }
    let finding = match ATTEMPTS.iter().find(|attempt| attempt.name == name) {
        None => Finding::Layers(layers),
        Some(attempt) => match (attempt.act)(parent) {
            Ok(()) => Finding::Succeeded,
            Err(error) => Finding::Denied(error.to_string()),
        },
    };
    let mut frame = Vec::new();
    finding.put(&mut frame);
    stream()?.write_all(&frame)
}

fn create(_: Pid) -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("tallymill-probe-{}", std::process::id()));
    File::create_new(&path)?;
    fs::remove_file(path)
}

/// The signal that only asks whether signals may be sent.
fn signal(parent: Pid) -> io::Result<()> {
    Ok(test_kill_process(parent)?)
}

fn open_memory(parent: Pid) -> io::Result<()> {
    File::open(format!("/proc/{}/mem", parent.as_raw_nonzero())).map(drop)
}

fn answer(value: i64) -> io::Result<()> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "there is no safe call for what nobody should do")]
fn trace(parent: Pid) -> io::Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: seizing does not stop the process, and ends with this one.
    answer(unsafe {
        libc::ptrace(libc::PTRACE_SEIZE, parent.as_raw_nonzero().get(), nothing, nothing)
    })
}

#[expect(unsafe_code, reason = "there is no safe call for what nobody should do")]
fn copy_memory(parent: Pid) -> io::Result<()> {
    let mut byte = 0u8;
    let own = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // What stands here in this process stands somewhere else in its parent; any answer but a refusal would do.
    let its = libc::iovec { iov_base: (copy_memory as fn(Pid) -> io::Result<()>) as _, iov_len: 1 };
    let parent = parent.as_raw_nonzero().get();
    // SAFETY: it writes one byte, to a variable of one byte.
    let read = unsafe { libc::process_vm_readv(parent, &raw const own, 1, &raw const its, 1, 0) };
    match answer(i64::try_from(read).unwrap_or(0)) {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        other => other,
    }
}

#[expect(unsafe_code, reason = "there is no safe call for what nobody should do")]
fn fork(_: Pid) -> io::Result<()> {
    // SAFETY: this process has one thread, and the other one ends at once.
    let process = unsafe { libc::fork() };
    if process == 0 {
        std::process::exit(0);
    }
    answer(process.into())
}

const PAGE: usize = 4096;

#[expect(unsafe_code, reason = "there is no safe call for what nobody should do")]
fn map(sharing: i32) -> io::Result<*mut libc::c_void> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = sharing | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(page) }
}

#[expect(unsafe_code, reason = "there is no safe call for what nobody should do")]
fn make_executable(_: Pid) -> io::Result<()> {
    let page = map(libc::MAP_PRIVATE)?;
    // SAFETY: the page was mapped just now and nothing else uses it.
    answer(unsafe { libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC) }.into())
}

fn share_memory(_: Pid) -> io::Result<()> {
    map(libc::MAP_SHARED).map(drop)
}

fn raise_limit(_: Pid) -> io::Result<()> {
    let limit = Rlimit { current: Some(16), maximum: Some(16) };
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn write_module(_: Pid) -> io::Result<()> {
    rustix::io::write(io::stdin(), b"changed").map(drop)?;
    Ok(())
}

#[expect(unsafe_code, reason = "numbers without owners are what is looked for")]
fn use_leaked(_: Pid) -> io::Result<()> {
    let own = stream()?;
    for number in (3..256).filter(|number| *number != std::os::fd::AsRawFd::as_raw_fd(&own)) {
        // SAFETY: the descriptor is only asked for its flags, and the kernel says if there is none.
        let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        if rustix::io::fcntl_getfd(descriptor.as_fd()).is_ok() {
            return Ok(());
        }
    }
    Err(io::Error::other("there is none"))
}
