//! The bytes of a file that a guest made.
//!
//! They are kept in pages, and a page that nobody wrote does not exist: a file's size costs nothing by itself, so that a guest cannot
//! make the host fill memory with zeros by writing one byte far behind the others.

use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a page.
const PAGE: usize = 4096;

/// A file's bytes: zeros where nothing was written.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    len: u64,
}

/// The page of a position, and the part of it from there on that holds at most `most` bytes.
fn part(at: u64, most: usize) -> (u64, Range<usize>) {
    let page = PAGE as u64;
    // The remainder is below the size of a page.
    let from = usize::try_from(at % page).unwrap_or(0);
    (at / page, from..PAGE.min(from.saturating_add(most)))
}

impl Contents {
    /// Size in bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Copies what stands at `at` to `target`, as far as there is something, and says how much.
    pub(crate) fn read(&self, at: u64, target: &mut [u8]) -> usize {
        let rest = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let count = rest.min(target.len());
        let mut done = 0;
        while done < count {
            let (page, range) = part(at + done as u64, count - done);
            let target = &mut target[done..done + range.len()];
            done += range.len();
            match self.pages.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[range]),
                None => target.fill(0),
            }
        }
        count
    }

    /// All of it, in one piece.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        self.read(0, &mut bytes);
        bytes
    }

    /// Puts `bytes` at `at`; the file becomes as long as that needs.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, range) = part(at + done as u64, bytes.len() - done);
            let source = &bytes[done..done + range.len()];
            done += range.len();
            self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE]))[range]
                .copy_from_slice(source);
        }
        self.len = self.len.max(at + bytes.len() as u64);
    }

    /// Cuts it, or lets it end later.
    pub(crate) fn resize(&mut self, len: u64) {
        if len < self.len {
            drop(self.pages.split_off(&len.div_ceil(PAGE as u64)));
            let (page, rest) = part(len, PAGE);
            if let Some(bytes) = self.pages.get_mut(&page) {
                bytes[rest].fill(0);
            }
        }
        self.len = len;
    }
}

impl From<&[u8]> for Contents {
    fn from(bytes: &[u8]) -> Self {
        let mut contents = Self::default();
        contents.write(0, bytes);
        contents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(contents: &Contents) -> Vec<u8> {
        let mut bytes = vec![0xee; usize::try_from(contents.len()).unwrap()];
        assert_eq!(contents.read(0, &mut bytes), bytes.len());
        assert_eq!(Contents::from(bytes.as_slice()).to_vec(), bytes);
        assert_eq!(contents.to_vec(), bytes);
        bytes
    }

    #[test]
    fn it_holds_what_a_plain_vector_would() {
        let (mut contents, mut plain) = (Contents::default(), Vec::new());
        let steps: [(u64, usize, Option<u64>); 8] = [
            (0, 10, None),
            (4090, 12, None),
            (5000, 9000, Some(4100)),
            (4099, 1, Some(4096)),
            (4096, 4096, Some(9000)),
            (100, 5000, Some(50)),
            (20_000, 1, Some(8191)),
            (8000, 400, None),
        ];
        for (step, (at, count, cut)) in (1u8..).zip(steps) {
            contents.write(at, &vec![step; count]);
            let end = usize::try_from(at).unwrap() + count;
            plain.resize(plain.len().max(end), 0);
            plain[end - count..end].fill(step);
            assert_eq!(all(&contents), plain, "step {step}");
            if let Some(cut) = cut {
                contents.resize(cut);
                plain.resize(usize::try_from(cut).unwrap(), 0);
                assert_eq!(all(&contents), plain, "cut of step {step}");
            }
        }
    }

    #[test]
    fn a_hole_has_no_pages() {
        let mut contents = Contents::default();
        contents.write(1 << 40, b"x");
        contents.resize(1 << 50);
        assert_eq!((contents.pages.len(), contents.len()), (1, 1 << 50));
        let mut seen = [7; 3];
        assert_eq!(contents.read((1 << 40) - 1, &mut seen), 3);
        assert_eq!(seen, [0, b'x', 0]);
        assert_eq!(contents.read(1 << 50, &mut seen), 0);
        contents.resize(0);
        assert!(contents.pages.is_empty());
    }
}
