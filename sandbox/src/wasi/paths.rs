//! Directories, paths and what the guest can learn about files.

use super::errno::Errno;
use super::files::{Node, NodeId, ROOT};
use super::guest::{Guest, Handle, OpenFile};
use super::memory::Memory;
use super::{Answer, MAX_TRANSFER};

/// Name of the directory the guest starts with.
const ROOT_NAME: &[u8] = b"/";
/// Type code of a stream.
const STREAM: u8 = 0;
/// Type code of a directory.
const DIRECTORY: u8 = 3;

/// `path_open` may make the file.
const CREATE: u32 = 1;
/// `path_open` must find a directory.
const MUST_BE_DIRECTORY: u32 = 2;
/// `path_open` must make the file.
const EXCLUSIVE: u32 = 4;
/// `path_open` empties the file.
const TRUNCATE: u32 = 8;
/// Flags of a descriptor: append, and four about synchronising that change nothing here.
const ALL_FLAGS: u32 = 0x1f;

/// The right to read.
const READ: u64 = 1 << 1;
/// The right to write.
const WRITE: u64 = 1 << 6;
/// The rights to seek and tell: without them, and with a stream's type, the C library knows that it is no terminal.
const SEEK: u64 = 1 << 2 | 1 << 5;
/// Every right of preview 1.
const ALL_RIGHTS: u64 = (1 << 30) - 1;

pub(super) fn fd_prestat_get(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    result: u32,
) -> Answer {
    match guest.handle(fd)? {
        Handle::Directory { preopened: true, .. } => {
            Ok(memory.put(result, &[0, 0, 0, 0, 1, 0, 0, 0])?)
        }
        _ => Err(Errno::BadFd.into()),
    }
}

pub(super) fn fd_prestat_dir_name(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    at: u32,
    length: u32,
) -> Answer {
    match guest.handle(fd)? {
        Handle::Directory { preopened: true, .. } if length >= 1 => Ok(memory.put(at, ROOT_NAME)?),
        Handle::Directory { preopened: true, .. } => Err(Errno::NameTooLong.into()),
        _ => Err(Errno::BadFd.into()),
    }
}

pub(super) fn fd_fdstat_get(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    result: u32,
) -> Answer {
    let (kind, flags, rights) = match guest.handle(fd)? {
        Handle::Input(_) => (STREAM, 0, READ),
        Handle::Output | Handle::Log => (STREAM, 0, WRITE),
        Handle::Directory { .. } => (DIRECTORY, 0, ALL_RIGHTS & !SEEK),
        Handle::File(file) => {
            let file = *file;
            let denied =
                if file.readable { 0 } else { READ } | if file.writable { 0 } else { WRITE };
            (guest.files.node(file.node)?.file_type(), file.flags, ALL_RIGHTS & !denied)
        }
    };
    let mut stat = [0; 24];
    stat[0] = kind;
    stat[2..4].copy_from_slice(&flags.to_le_bytes());
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    stat[16..24].copy_from_slice(&rights.to_le_bytes());
    Ok(memory.put(result, &stat)?)
}

pub(super) fn fd_fdstat_set_flags(
    guest: &mut Guest,
    _: &mut Memory<'_>,
    fd: u32,
    flags: u32,
) -> Answer {
    let valid =
        u16::try_from(flags).ok().filter(|_| flags & !ALL_FLAGS == 0).ok_or(Errno::Invalid)?;
    if let Handle::File(file) = guest.handle(fd)? {
        file.flags = valid;
    }
    Ok(())
}

/// Device 1, the inode, one link, the size, and all times at zero.
fn put_stat(memory: &mut Memory<'_>, at: u32, inode: u64, kind: u8, size: u64) -> Answer {
    let mut stat = [0; 64];
    stat[0] = 1;
    stat[8..16].copy_from_slice(&inode.to_le_bytes());
    stat[16] = kind;
    stat[24] = 1;
    stat[32..40].copy_from_slice(&size.to_le_bytes());
    Ok(memory.put(at, &stat)?)
}

fn put_node(guest: &Guest, memory: &mut Memory<'_>, at: u32, id: NodeId) -> Answer {
    let node = guest.files.node(id)?;
    put_stat(memory, at, inode(id), node.file_type(), node.size())
}

/// Inode numbers: 1 to 3 are the streams.
const fn inode(id: NodeId) -> u64 {
    id as u64 + 4
}

pub(super) fn fd_filestat_get(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    result: u32,
) -> Answer {
    match guest.handle(fd)? {
        Handle::Input(_) | Handle::Output | Handle::Log => {
            put_stat(memory, result, u64::from(fd) + 1, STREAM, 0)
        }
        Handle::Directory { node, .. } | Handle::File(OpenFile { node, .. }) => {
            let node = *node;
            put_node(guest, memory, result, node)
        }
    }
}

pub(super) fn fd_filestat_set_size(
    guest: &mut Guest,
    _: &mut Memory<'_>,
    fd: u32,
    size: u64,
) -> Answer {
    let file = *guest.file(fd)?;
    if !file.writable {
        return Err(Errno::BadFd.into());
    }
    Ok(guest.files.resize(file.node, size)?)
}

/// Looks a path up from the directory `fd`.
macro_rules! place {
    ($guest:ident, $memory:ident, $fd:expr, $at:expr, $length:expr) => {{
        let from = $guest.directory($fd)?;
        $guest.files.resolve(from, $memory.bytes($at, $length)?)?
    }};
}

pub(super) fn path_filestat_get(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    args: [u32; 4],
) -> Answer {
    let [_flags, at, length, result] = args;
    let id = place!(guest, memory, fd, at, length).node.ok_or(Errno::NoEntry)?;
    put_node(guest, memory, result, id)
}

pub(super) fn path_create_directory(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    at: u32,
    length: u32,
) -> Answer {
    let place = place!(guest, memory, fd, at, length);
    Ok(guest.files.create_directory(&place)?)
}

pub(super) fn path_unlink_file(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    at: u32,
    length: u32,
) -> Answer {
    let place = place!(guest, memory, fd, at, length);
    Ok(guest.files.unlink_file(&place)?)
}

pub(super) fn path_remove_directory(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    at: u32,
    length: u32,
) -> Answer {
    let place = place!(guest, memory, fd, at, length);
    Ok(guest.files.remove_directory(&place)?)
}

pub(super) fn path_rename(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    args: [u32; 5],
) -> Answer {
    let [at, length, to_fd, to_at, to_length] = args;
    let from = place!(guest, memory, fd, at, length);
    let to = place!(guest, memory, to_fd, to_at, to_length);
    Ok(guest.files.rename(&from, &to)?)
}

/// What `path_open` is asked for besides the path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    /// Create, directory, exclusive, truncate.
    pub(super) how: u32,
    /// Rights the descriptor shall have.
    pub(super) rights: u64,
    /// Flags of the descriptor.
    pub(super) flags: u32,
}

pub(super) fn path_open(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    path: [u32; 3],
    opening: Opening,
    result: u32,
) -> Answer {
    let [fd, at, length] = path;
    memory.bytes(result, 4)?;
    let flags = u16::try_from(opening.flags).ok().filter(|_| opening.flags & !ALL_FLAGS == 0);
    let flags = flags.ok_or(Errno::Invalid)?;
    let place = place!(guest, memory, fd, at, length);
    let may_create = opening.how & CREATE != 0 && opening.how & MUST_BE_DIRECTORY == 0;
    let directory_named = memory.bytes(at, length)?.ends_with(b"/");
    let node = match place.node {
        Some(_) if opening.how & (CREATE | EXCLUSIVE) == CREATE | EXCLUSIVE => {
            return Err(Errno::Exists.into());
        }
        Some(node) => node,
        None if may_create && !directory_named => guest.files.create(&place)?,
        None => return Err(Errno::NoEntry.into()),
    };
    let handle = handle_for(guest, node, opening, flags)?;
    let opened = guest.open(node, handle)?;
    Ok(memory.put_u32(result, opened)?)
}

fn handle_for(
    guest: &mut Guest,
    node: NodeId,
    opening: Opening,
    flags: u16,
) -> Result<Handle, Errno> {
    let writable = opening.rights & WRITE != 0;
    let truncate = opening.how & TRUNCATE != 0;
    match guest.files.node(node)? {
        Node::Directory(_) if truncate => return Err(Errno::IsDirectory),
        Node::Directory(_) => return Ok(Handle::Directory { node, preopened: false }),
        _ if opening.how & MUST_BE_DIRECTORY != 0 => return Err(Errno::NotDirectory),
        Node::Input(_) if writable || truncate => return Err(Errno::ReadOnly),
        Node::Input(_) => {}
        Node::File(_) if truncate => guest.files.resize(node, 0)?,
        Node::File(_) => {}
    }
    Ok(Handle::File(OpenFile {
        node,
        position: 0,
        readable: opening.rights & READ != 0,
        writable,
        flags,
    }))
}

/// Lists a directory: `.`, `..`, then the names in the order of their bytes. The cookie is a position in that list.
pub(super) fn fd_readdir(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    args: [u32; 3],
    cookie: u64,
) -> Answer {
    let [at, length, result] = args;
    memory.bytes(result, 4)?;
    let room = length.min(MAX_TRANSFER);
    let id = guest.directory(fd)?;
    let Node::Directory(names) = guest.files.node(id)? else {
        return Err(Errno::NotDirectory.into());
    };
    let parents = [(".", id), ("..", ROOT)];
    let entries = parents.into_iter().chain(names.iter().map(|(name, id)| (name.as_str(), *id)));
    let target = memory.bytes_mut(at, room)?;
    let skip = usize::try_from(cookie).unwrap_or(usize::MAX);
    let mut used = 0;
    for (position, (name, entry)) in (1u64..).zip(entries).skip(skip) {
        let head = dirent(position, entry, name, guest.files.node(entry)?.file_type());
        for part in [&head[..], name.as_bytes()] {
            let fits = part.len().min(target.len() - used);
            target[used..used + fits].copy_from_slice(&part[..fits]);
            used += fits;
        }
        if used == target.len() {
            break;
        }
    }
    Ok(memory.put_u32(result, u32::try_from(used).unwrap_or(room))?)
}

fn dirent(next: u64, id: NodeId, name: &str, kind: u8) -> [u8; 24] {
    let mut head = [0; 24];
    head[..8].copy_from_slice(&next.to_le_bytes());
    head[8..16].copy_from_slice(&inode(id).to_le_bytes());
    head[16..20].copy_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
    head[20] = kind;
    head
}
