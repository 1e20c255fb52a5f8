//! What a call of a host function costs.

/// Where a host function says how many bytes it moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moved {
    /// Nothing that depends on its arguments.
    Nothing,
    /// As many as this parameter says, an i32 (unsigned) or an i64.
    Given(u32),
    /// As many as the u32 that it left in memory at the address in this parameter.
    Answered(u32),
}

/// What a call of one host function costs beside the weight of the `call` operator itself.
///
/// The base is paid before the call, the bytes after one that answered 0 (success): only then is
/// their number known. All of it happens in the import's thunk, so a host has nothing to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostCost {
    /// First part of its name.
    pub module: &'static str,
    /// Second part of its name.
    pub name: &'static str,
    /// What every call pays.
    pub base: u32,
    /// What every byte moved pays.
    pub byte: u32,
    /// Where the number of bytes stands.
    pub moved: Moved,
}

/// Where the functions of WASI preview 1 that move bytes say how many. What the others do is bounded
/// by the length of a path or of the arguments, and paid by their base.
pub const PREVIEW1: [(&str, Moved); 7] = [
    ("fd_filestat_set_size", Moved::Given(1)),
    ("fd_pread", Moved::Answered(4)),
    ("fd_pwrite", Moved::Answered(4)),
    ("fd_read", Moved::Answered(3)),
    ("fd_readdir", Moved::Answered(4)),
    ("fd_write", Moved::Answered(3)),
    ("random_get", Moved::Given(1)),
];

/// The other functions of WASI preview 1. What they do is bounded by the length of a path, of the
/// arguments or of the environment.
const OTHERS: [&str; 39] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_times",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// Copies of the whole environment or of all arguments, which a manifest bounds by 64 KiB: every call
/// pays for as much.
const WHOLE: [&str; 2] = ["args_get", "environ_get"];
const WHOLE_BYTES: u32 = 64 * 1024;

/// Every function of WASI preview 1 at these prices: of a call, of a byte copied, of a random byte.
pub(super) fn preview1(base: u32, copied: u32, random: u32) -> Vec<HostCost> {
    let cost = |name, moved| HostCost {
        module: "wasi_snapshot_preview1",
        name,
        base: if WHOLE.contains(&name) { base + copied * WHOLE_BYTES } else { base },
        byte: if name == "random_get" { random } else { copied },
        moved,
    };
    let others = OTHERS.into_iter().map(|name| (name, Moved::Nothing));
    PREVIEW1.into_iter().chain(others).map(|(name, moved)| cost(name, moved)).collect()
}
