//! Open descriptors of a guest.

use crate::cbor::{DecodeError, Decoder, Encoder, Field, Message};

/// Most open descriptors.
pub const MAX_HANDLES: usize = 1_024;

/// What a descriptor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Open {
    /// Standard input, read up to this position.
    Input {
        /// The next byte.
        position: u64,
    },
    /// Standard output.
    Output,
    /// Standard error.
    Log,
    /// A directory.
    Directory {
        /// Its number.
        node: u32,
        /// Whether it is the one that the guest starts with.
        preopened: bool,
    },
    /// A file.
    File {
        /// Its number.
        node: u32,
        /// The next byte.
        position: u64,
        /// Whether it may be read.
        readable: bool,
        /// Whether it may be written.
        writable: bool,
        /// Its flags, as WASI numbers them.
        flags: u16,
    },
}

/// A descriptor and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The descriptor.
    pub fd: u32,
    /// What it stands for.
    pub open: Open,
}

impl Field for Handle {
    /// One array of numbers: the descriptor, the kind, and what belongs to the kind.
    fn encode(&self, e: &mut Encoder) {
        let values = match self.open {
            Open::Input { position } => vec![0, position],
            Open::Output => vec![1],
            Open::Log => vec![2],
            Open::Directory { node, preopened } => vec![3, u64::from(node), u64::from(preopened)],
            Open::File { node, position, readable, writable, flags } => {
                let rights = u64::from(readable) | u64::from(writable) << 1;
                vec![4, u64::from(node), position, rights, u64::from(flags)]
            }
        };
        e.array(values.len() + 1);
        e.uint(u64::from(self.fd));
        values.into_iter().for_each(|value| e.uint(value));
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let values = d.array(6, u64::decode)?;
        let handle = read(&values);
        handle.ok_or_else(|| d.invalid("descriptor: unknown kind, or not the values of its kind"))
    }
}

fn read(values: &[u64]) -> Option<Handle> {
    let (fd, values) = values.split_first()?;
    let small = |value: u64| u32::try_from(value).ok();
    let open = match *values {
        [0, position] => Open::Input { position },
        [1] => Open::Output,
        [2] => Open::Log,
        [3, node, preopened @ 0..=1] => {
            Open::Directory { node: small(node)?, preopened: preopened == 1 }
        }
        [4, node, position, rights @ 0..=3, flags] => Open::File {
            node: small(node)?,
            position,
            readable: rights & 1 == 1,
            writable: rights & 2 == 2,
            flags: u16::try_from(flags).ok()?,
        },
        _ => return None,
    };
    Some(Handle { fd: small(*fd)?, open })
}

/// Open descriptors, by number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Handles(pub Vec<Handle>);

impl Field for Handles {
    fn encode(&self, e: &mut Encoder) {
        e.array(self.0.len());
        self.0.iter().for_each(|handle| handle.encode(e));
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let handles = d.array(MAX_HANDLES, Handle::decode)?;
        if !handles.is_sorted_by(|a, b| a.fd < b.fd) {
            return Err(d.invalid("descriptors: ascending, each once"));
        }
        Ok(Self(handles))
    }
}

impl Message for Handles {
    const NAME: &'static str = "snapshot-handles";
    const MAX: usize = 65_536;
}
