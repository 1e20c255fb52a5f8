//! Reading and writing descriptors.

use super::errno::Errno;
use super::files::copy_from;
use super::guest::{Guest, Handle};
use super::memory::Memory;
use super::{Answer, Ending, Halt, MAX_TRANSFER};

/// Most (pointer, length) pairs in one call.
const MAX_VECTORS: u32 = 1024;
/// Flag of a file whose writes go to its end.
const APPEND: u16 = 1;

/// Calls `part` with every part of a vector until it answers less than it was given, and sums the answers.
/// What is beyond [`MAX_TRANSFER`] is left for another call. If a part leaves memory nothing is moved: bytes that were moved are paid
/// only by calls that succeed.
fn each_part(
    memory: &mut Memory<'_>,
    vectors: u32,
    count: u32,
    mut part: impl FnMut(&mut [u8]) -> Result<usize, Halt>,
) -> Result<u32, Halt> {
    if count > MAX_VECTORS {
        return Err(Errno::Invalid.into());
    }
    let mut left = MAX_TRANSFER;
    for index in 0..count {
        let (at, length) = memory.vector(vectors, index)?;
        let length = length.min(left);
        memory.bytes(at, length)?;
        left -= length;
        if left == 0 {
            break;
        }
    }
    let mut done = 0;
    for index in 0..count {
        let (at, length) = memory.vector(vectors, index)?;
        let length = length.min(MAX_TRANSFER - done);
        let bytes = memory.bytes_mut(at, length)?;
        let moved = u32::try_from(part(bytes)?).unwrap_or(length);
        done += moved;
        if moved < length || done == MAX_TRANSFER {
            break;
        }
    }
    Ok(done)
}

pub(super) fn fd_read(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    parts: [u32; 3],
) -> Answer {
    let [vectors, count, result] = parts;
    memory.bytes(result, 4)?;
    let done = match guest.handle(fd)? {
        Handle::Input(position) => {
            let mut at = *position;
            let done = read_input(&guest.input, &mut at, memory, vectors, count)?;
            *guest.handle(fd)? = Handle::Input(at);
            done
        }
        Handle::File(file) => {
            let position = file.position;
            let done = read_file(guest, memory, fd, position, [vectors, count])?;
            guest.file(fd)?.position = position.saturating_add(u64::from(done));
            done
        }
        Handle::Directory { .. } => return Err(Errno::IsDirectory.into()),
        Handle::Output | Handle::Log => return Err(Errno::BadFd.into()),
    };
    Ok(memory.put_u32(result, done)?)
}

fn read_input(
    input: &[u8],
    at: &mut usize,
    memory: &mut Memory<'_>,
    vectors: u32,
    count: u32,
) -> Result<u32, Halt> {
    each_part(memory, vectors, count, |target| {
        let moved = copy_from(input, *at as u64, target);
        *at += moved;
        Ok(moved)
    })
}

fn read_file(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    mut at: u64,
    [vectors, count]: [u32; 2],
) -> Result<u32, Halt> {
    let file = *guest.file(fd)?;
    if !file.readable {
        return Err(Errno::BadFd.into());
    }
    let node = guest.files.node(file.node)?;
    each_part(memory, vectors, count, |target| {
        let moved = node.read(at, target)?;
        at += moved as u64;
        Ok(moved)
    })
}

pub(super) fn fd_pread(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    parts: [u32; 3],
    offset: u64,
) -> Answer {
    let [vectors, count, result] = parts;
    memory.bytes(result, 4)?;
    let done = read_file(guest, memory, fd, offset, [vectors, count])?;
    Ok(memory.put_u32(result, done)?)
}

pub(super) fn fd_write(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    parts: [u32; 3],
) -> Answer {
    let [vectors, count, result] = parts;
    memory.bytes(result, 4)?;
    let done = match guest.handle(fd)? {
        Handle::Output => each_part(memory, vectors, count, |bytes| write_output(guest, bytes))?,
        Handle::Log => each_part(memory, vectors, count, |bytes| Ok(write_log(guest, bytes)))?,
        Handle::File(file) => {
            let file = *file;
            let end = guest.files.node(file.node)?.size();
            let at = if file.flags & APPEND == 0 { file.position } else { end };
            let done = write_file(guest, memory, fd, at, [vectors, count])?;
            guest.file(fd)?.position = at.saturating_add(u64::from(done));
            done
        }
        Handle::Directory { .. } | Handle::Input(_) => return Err(Errno::BadFd.into()),
    };
    Ok(memory.put_u32(result, done)?)
}

/// Takes output up to its limit; what is beyond ends the run.
fn write_output(guest: &mut Guest, bytes: &[u8]) -> Result<usize, Halt> {
    let room = guest.job.limits.output.saturating_sub(guest.output.len() as u64);
    let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
    guest.output.extend_from_slice(&bytes[..fits]);
    if fits < bytes.len() { Err(Halt::End(Ending::OutputExceeded)) } else { Ok(fits) }
}

/// Takes the log up to its limit and drops the rest without telling.
fn write_log(guest: &mut Guest, bytes: &[u8]) -> usize {
    let room = guest.job.limits.log.saturating_sub(guest.log.len() as u64);
    let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
    guest.log.extend_from_slice(&bytes[..fits]);
    bytes.len()
}

/// Writes what the scratch limit allows: an error only when that is nothing.
fn write_file(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    mut at: u64,
    [vectors, count]: [u32; 2],
) -> Result<u32, Halt> {
    let file = *guest.file(fd)?;
    if !file.writable {
        return Err(Errno::BadFd.into());
    }
    let start = at;
    each_part(memory, vectors, count, |bytes| {
        let moved = match guest.files.write(file.node, at, bytes) {
            Err(Errno::NoSpace) if at > start => 0,
            other => other?,
        };
        at += moved as u64;
        Ok(moved)
    })
}

pub(super) fn fd_pwrite(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    parts: [u32; 3],
    offset: u64,
) -> Answer {
    let [vectors, count, result] = parts;
    memory.bytes(result, 4)?;
    let done = write_file(guest, memory, fd, offset, [vectors, count])?;
    Ok(memory.put_u32(result, done)?)
}

pub(super) fn fd_seek(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    fd: u32,
    by: u64,
    to: [u32; 2],
) -> Answer {
    let [whence, result] = to;
    memory.bytes(result, 8)?;
    let file = *guest.file(fd)?;
    let from = match whence {
        0 => 0,
        1 => file.position,
        2 => guest.files.node(file.node)?.size(),
        _ => return Err(Errno::Invalid.into()),
    };
    let limit = i64::MAX.unsigned_abs();
    let position = from
        .checked_add_signed(by.cast_signed())
        .filter(|at| *at <= limit)
        .ok_or(Errno::Invalid)?;
    guest.file(fd)?.position = position;
    Ok(memory.put_u64(result, position)?)
}

pub(super) fn fd_tell(guest: &mut Guest, memory: &mut Memory<'_>, fd: u32, result: u32) -> Answer {
    let position = guest.file(fd)?.position;
    Ok(memory.put_u64(result, position)?)
}

pub(super) fn fd_close(guest: &mut Guest, _: &mut Memory<'_>, fd: u32) -> Answer {
    Ok(guest.close(fd)?)
}

/// Nothing is behind a file that could be lost.
pub(super) fn fd_sync(guest: &mut Guest, _: &mut Memory<'_>, fd: u32) -> Answer {
    guest.handle(fd)?;
    Ok(())
}
