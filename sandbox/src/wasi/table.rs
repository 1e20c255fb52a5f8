//! The one list of host functions, and what is made from it without knowing an engine.

use super::errno::Errno;
use super::guest::Guest;
use super::memory::Memory;
use super::{Answer, paths, process, streams};

/// Type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
}

/// A function of the list for engines that know its type only at run time: arguments are zero-extended.
pub(super) type Call = fn(&mut Guest, &mut Memory<'_>, &[u64]) -> Answer;

/// One offered function: its name, its parameters, and whether it answers an error code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Function {
    /// Name.
    pub(crate) name: &'static str,
    /// Parameters.
    pub(crate) parameters: &'static [Parameter],
    /// Whether it has a result, an i32.
    pub(crate) answers: bool,
    /// What it does, with an argument for each parameter.
    pub(super) call: Call,
}

macro_rules! parameter {
    (u32) => {
        Parameter::I32
    };
    (u64) => {
        Parameter::I64
    };
}

/// Calls a macro with the list: functions that work with the call that does it, then those that answer `ENOSYS`. `proc_exit`, the
/// one without an answer, is not in it.
macro_rules! each_function {
    ($then:ident) => {
        $then! {
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
    };
}
pub(super) use each_function;

/// An argument as the function wants it.
trait Argument {
    fn take(arguments: &mut std::slice::Iter<'_, u64>) -> Self;
}

impl Argument for u64 {
    fn take(arguments: &mut std::slice::Iter<'_, u64>) -> Self {
        arguments.next().copied().unwrap_or(0)
    }
}

impl Argument for u32 {
    fn take(arguments: &mut std::slice::Iter<'_, u64>) -> Self {
        let low = u64::take(arguments) & u64::from(Self::MAX);
        Self::try_from(low).unwrap_or(Self::MAX)
    }
}

macro_rules! offer {
    (
        working { $( $name:ident ( $($arg:ident : $type:tt),* ) => |$guest:ident, $memory:ident| $call:expr; )* }
        refused { $( $other:ident ( $($otype:tt),* ); )* }
    ) => {
        /// Every function a guest may import.
        pub(crate) const OFFERED: &[Function] = &[
            $( Function {
                name: stringify!($name),
                parameters: &[$(parameter!($type)),*],
                answers: true,
                call: |$guest, $memory, arguments| {
                    let mut _arguments = arguments.iter();
                    $( let $arg = <$type>::take(&mut _arguments); )*
                    $call
                },
            }, )*
            $( Function {
                name: stringify!($other),
                parameters: &[$(parameter!($otype)),*],
                answers: true,
                call: |_, _, _| Err(Errno::NotOffered.into()),
            }, )*
            Function {
                name: "proc_exit",
                parameters: &[Parameter::I32],
                answers: false,
                call: |guest, memory, arguments| {
                    process::proc_exit(guest, memory, u32::take(&mut arguments.iter()))
                },
            },
        ];
    };
}

each_function!(offer);
