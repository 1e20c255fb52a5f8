//! Error codes of WASI preview 1, those that these host functions answer.

/// An error code as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Errno {
    /// The file is open in a way that does not allow this.
    BadFd = 8,
    /// It exists already.
    Exists = 20,
    /// A pointer or length that leaves the guest's memory.
    Fault = 21,
    /// A path that is not UTF-8.
    IllegalSequence = 25,
    /// An argument outside its range.
    Invalid = 28,
    /// It is a directory.
    IsDirectory = 31,
    /// Too many open files.
    TooManyFiles = 33,
    /// A name or path that is too long.
    NameTooLong = 37,
    /// There is no such file.
    NoEntry = 44,
    /// The scratch limit is reached.
    NoSpace = 51,
    /// Not offered.
    NotOffered = 52,
    /// It is not a directory.
    NotDirectory = 54,
    /// The directory is not empty.
    NotEmpty = 55,
    /// A read-only file.
    ReadOnly = 69,
    /// A stream has no position.
    IsStream = 70,
    /// A path that leaves the directory it starts from.
    NotCapable = 76,
}

impl Errno {
    /// The code.
    pub(crate) const fn code(self) -> u32 {
        self as u32
    }
}
