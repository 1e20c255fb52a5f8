//! WASI preview 1 as a pure function of module, input and manifest.
//!
//! Every function of preview 1 is offered; about thirty work, the rest answer `ENOSYS`. Nothing here touches the host: streams are
//! byte vectors, files live in memory, clocks are virtual and randomness comes from the manifest's seed. No call blocks. One call
//! moves at most [`MAX_TRANSFER`] bytes, so that a single operator of the guest cannot buy unbounded work of the host.
//!
//! [`OFFERED`] is the one table: the meter's import list and the linker are both made from it.

mod errno;
mod files;
mod guest;
mod memory;
mod paths;
mod process;
mod streams;

pub(crate) use errno::Errno;
pub(crate) use guest::Guest;
pub(crate) use memory::Memory;

/// Name of the module all functions are imported from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// Most bytes that one call reads, writes or lists; the rest is left to the guest's next call, as POSIX allows.
pub const MAX_TRANSFER: u32 = 1 << 20;

/// A guest's end that a host function caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It asked for it, with this code.
    Exit(u8),
    /// It wrote more than its output limit.
    OutputExceeded,
}

/// Why a call does not just succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The guest gets an error code.
    Errno(Errno),
    /// The guest ends.
    End(Ending),
}

impl From<Errno> for Halt {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

type Answer = Result<(), Halt>;

/// Type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
}

/// One offered function: its name, its parameters, and whether it answers an error code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Function {
    /// Name.
    pub(crate) name: &'static str,
    /// Parameters.
    pub(crate) parameters: &'static [Parameter],
    /// Whether it has a result, an i32.
    pub(crate) answers: bool,
}

macro_rules! parameter {
    (u32) => {
        Parameter::I32
    };
    (u64) => {
        Parameter::I64
    };
}

/// Makes [`OFFERED`] and [`link`] from one list: functions that work with the call that does it, then those that answer `ENOSYS`.
macro_rules! functions {
    (
        working { $( $name:ident ( $($arg:ident : $type:tt),* ) => |$guest:ident, $memory:ident| $call:expr; )* }
        refused { $( $other:ident ( $($otype:tt),* ); )* }
    ) => {
        /// Every function a guest may import.
        pub(crate) const OFFERED: &[Function] = &[
            $( Function { name: stringify!($name), parameters: &[$(parameter!($type)),*], answers: true }, )*
            $( Function { name: stringify!($other), parameters: &[$(parameter!($otype)),*], answers: true }, )*
            Function { name: "proc_exit", parameters: &[Parameter::I32], answers: false },
        ];

        /// Adds every function to `linker`.
        pub(crate) fn link<H: Host>(linker: &mut wasmtime::Linker<H>) -> wasmtime::Result<()> {
            $( linker.func_wrap(MODULE, stringify!($name), |mut caller: wasmtime::Caller<'_, H>, $($arg: $type),*| {
                H::call(&mut caller, |$guest, $memory| $call)
            })?; )*
            $( linker.func_wrap(MODULE, stringify!($other), |_: wasmtime::Caller<'_, H>, $(_: $otype),*| {
                Errno::NotOffered.code()
            })?; )*
            linker.func_wrap(MODULE, "proc_exit", |mut caller: wasmtime::Caller<'_, H>, code: u32| {
                H::call(&mut caller, |guest, memory| process::proc_exit(guest, memory, code)).map(drop)
            })?;
            Ok(())
        }
    };
}

/// What holds a [`Guest`] and its memory: the one way from the engine into a host function, and the place where a cost table
/// with weights for host calls would charge them.
pub(crate) trait Host: Sized + 'static {
    /// Runs one function on the guest's state and memory.
    fn call(
        caller: &mut wasmtime::Caller<'_, Self>,
        function: impl FnOnce(&mut Guest, &mut Memory<'_>) -> Result<(), Halt>,
    ) -> wasmtime::Result<u32>;
}

functions! {
    working {
        args_get(p: u32, b: u32) => |g, m| process::args_get(g, m, p, b);
        args_sizes_get(n: u32, s: u32) => |g, m| process::args_sizes_get(g, m, n, s);
        environ_get(p: u32, b: u32) => |g, m| process::environ_get(g, m, p, b);
        environ_sizes_get(n: u32, s: u32) => |g, m| process::environ_sizes_get(g, m, n, s);
        clock_res_get(c: u32, r: u32) => |g, m| process::clock_res_get(g, m, c, r);
        clock_time_get(c: u32, p: u64, r: u32) => |g, m| process::clock_time_get(g, m, c, p, r);
        random_get(b: u32, n: u32) => |g, m| process::random_get(g, m, b, n);
        sched_yield() => |g, m| process::sched_yield(g, m);
        fd_read(fd: u32, v: u32, n: u32, r: u32) => |g, m| streams::fd_read(g, m, fd, [v, n, r]);
        fd_write(fd: u32, v: u32, n: u32, r: u32) => |g, m| streams::fd_write(g, m, fd, [v, n, r]);
        fd_pread(fd: u32, v: u32, n: u32, o: u64, r: u32) => |g, m| streams::fd_pread(g, m, fd, [v, n, r], o);
        fd_pwrite(fd: u32, v: u32, n: u32, o: u64, r: u32) => |g, m| streams::fd_pwrite(g, m, fd, [v, n, r], o);
        fd_seek(fd: u32, by: u64, w: u32, r: u32) => |g, m| streams::fd_seek(g, m, fd, by, [w, r]);
        fd_tell(fd: u32, r: u32) => |g, m| streams::fd_tell(g, m, fd, r);
        fd_close(fd: u32) => |g, m| streams::fd_close(g, m, fd);
        fd_sync(fd: u32) => |g, m| streams::fd_sync(g, m, fd);
        fd_datasync(fd: u32) => |g, m| streams::fd_sync(g, m, fd);
        fd_fdstat_get(fd: u32, r: u32) => |g, m| paths::fd_fdstat_get(g, m, fd, r);
        fd_fdstat_set_flags(fd: u32, f: u32) => |g, m| paths::fd_fdstat_set_flags(g, m, fd, f);
        fd_filestat_get(fd: u32, r: u32) => |g, m| paths::fd_filestat_get(g, m, fd, r);
        fd_filestat_set_size(fd: u32, s: u64) => |g, m| paths::fd_filestat_set_size(g, m, fd, s);
        fd_prestat_get(fd: u32, r: u32) => |g, m| paths::fd_prestat_get(g, m, fd, r);
        fd_prestat_dir_name(fd: u32, p: u32, n: u32) => |g, m| paths::fd_prestat_dir_name(g, m, fd, p, n);
        fd_readdir(fd: u32, b: u32, n: u32, c: u64, r: u32) => |g, m| paths::fd_readdir(g, m, fd, [b, n, r], c);
        path_open(fd: u32, _d: u32, p: u32, n: u32, how: u32, rights: u64, _i: u64, flags: u32, r: u32) => |g, m| {
            paths::path_open(g, m, [fd, p, n], paths::Opening { how, rights, flags }, r)
        };
        path_filestat_get(fd: u32, f: u32, p: u32, n: u32, r: u32) => |g, m| {
            paths::path_filestat_get(g, m, fd, [f, p, n, r])
        };
        path_create_directory(fd: u32, p: u32, n: u32) => |g, m| paths::path_create_directory(g, m, fd, p, n);
        path_remove_directory(fd: u32, p: u32, n: u32) => |g, m| paths::path_remove_directory(g, m, fd, p, n);
        path_unlink_file(fd: u32, p: u32, n: u32) => |g, m| paths::path_unlink_file(g, m, fd, p, n);
        path_rename(fd: u32, p: u32, n: u32, t: u32, tp: u32, tn: u32) => |g, m| {
            paths::path_rename(g, m, fd, [p, n, t, tp, tn])
        };
    }
    refused {
        fd_advise(u32, u64, u64, u32);
        fd_allocate(u32, u64, u64);
        fd_fdstat_set_rights(u32, u64, u64);
        fd_filestat_set_times(u32, u64, u64, u32);
        fd_renumber(u32, u32);
        path_filestat_set_times(u32, u32, u32, u32, u64, u64, u32);
        path_link(u32, u32, u32, u32, u32, u32, u32);
        path_readlink(u32, u32, u32, u32, u32, u32);
        path_symlink(u32, u32, u32, u32, u32);
        poll_oneoff(u32, u32, u32, u32);
        proc_raise(u32);
        sock_accept(u32, u32, u32);
        sock_recv(u32, u32, u32, u32, u32, u32);
        sock_send(u32, u32, u32, u32, u32);
        sock_shutdown(u32, u32);
    }
}
