//! WASI preview 1 as a pure function of module, input and manifest.
//!
//! Every function of preview 1 is offered; about thirty work, the rest answer `ENOSYS`. Nothing here touches the host: streams are
//! byte vectors, files live in memory, clocks are virtual and randomness comes from the manifest's seed. No call blocks. One call
//! moves at most [`MAX_TRANSFER`] bytes, so that a single operator of the guest cannot buy unbounded work of the host.
//!
//! Nothing here knows an engine either: a function takes the [`Guest`], its memory as bytes, and integers. `table` is the one list of
//! functions; the meter's import list, `link` for our engine and [`Session`] for any other are made from it.

mod contents;
mod errno;
mod files;
mod guest;
mod keep;
mod link;
mod memory;
mod paths;
mod process;
mod session;
mod streams;
mod table;

pub(crate) use errno::Errno;
pub(crate) use guest::Guest;
pub(crate) use link::{Host, link};
pub(crate) use memory::Memory;
pub use session::Session;
pub(crate) use table::{OFFERED, Parameter};

/// Name of the module all functions are imported from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// Most bytes that one call reads, writes or lists; the rest is left to the guest's next call, as POSIX allows.
pub const MAX_TRANSFER: u32 = 1 << 20;

/// A guest's end that a host function caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
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
