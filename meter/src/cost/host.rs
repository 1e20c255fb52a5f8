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
