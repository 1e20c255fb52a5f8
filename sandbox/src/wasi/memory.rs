//! Checked access to the guest's memory: a bad pointer is `EFAULT`, never a trap.

use super::errno::Errno;

/// The guest's linear memory during one host call.
pub(crate) struct Memory<'m>(pub(crate) &'m mut [u8]);

fn range(at: u32, length: u32) -> std::ops::Range<usize> {
    // A u32 fits usize on every host this crate builds for; the sum of two does in 64 bits.
    let at = at as usize;
    at..at + length as usize
}

impl Memory<'_> {
    /// `length` bytes at `at`.
    pub(crate) fn bytes(&self, at: u32, length: u32) -> Result<&[u8], Errno> {
        self.0.get(range(at, length)).ok_or(Errno::Fault)
    }

    /// `length` writable bytes at `at`.
    pub(crate) fn bytes_mut(&mut self, at: u32, length: u32) -> Result<&mut [u8], Errno> {
        self.0.get_mut(range(at, length)).ok_or(Errno::Fault)
    }

    /// A little-endian u32.
    pub(crate) fn u32(&self, at: u32) -> Result<u32, Errno> {
        let bytes = self.bytes(at, 4)?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    /// Writes `bytes` at `at`.
    pub(crate) fn put(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::Fault)?;
        self.bytes_mut(at, length)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes a little-endian u32.
    pub(crate) fn put_u32(&mut self, at: u32, value: u32) -> Result<(), Errno> {
        self.put(at, &value.to_le_bytes())
    }

    /// Writes a little-endian u64.
    pub(crate) fn put_u64(&mut self, at: u32, value: u64) -> Result<(), Errno> {
        self.put(at, &value.to_le_bytes())
    }

    /// Element `index` of a vector of (pointer, length) pairs at `at`.
    pub(crate) fn vector(&self, at: u32, index: u32) -> Result<(u32, u32), Errno> {
        let at =
            index.checked_mul(8).and_then(|offset| at.checked_add(offset)).ok_or(Errno::Fault)?;
        Ok((self.u32(at)?, self.u32(at.checked_add(4).ok_or(Errno::Fault)?)?))
    }
}
