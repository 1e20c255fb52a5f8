//! A compressor of the Lempel–Ziv kind and its decompressor: hash table, copies, branches.

use crate::random::{Checksum, Random};

const TABLE_BITS: u32 = 14;
const SHORTEST: usize = 4;
const FARTHEST: usize = 65_535;
/// A nibble of this value goes on in bytes, as in the block format of LZ4.
const FULL: usize = 15;

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn slot(word: u32) -> usize {
    (word.wrapping_mul(2_654_435_761) >> (32 - TABLE_BITS)) as usize
}

/// Writes what did not fit a nibble.
fn put_rest(out: &mut Vec<u8>, length: usize) {
    let mut rest = length.saturating_sub(FULL);
    if length < FULL {
        return;
    }
    while rest >= 255 {
        out.push(255);
        rest -= 255;
    }
    out.push(rest.to_le_bytes()[0]);
}

/// One sequence: literals, then a copy of `length` bytes from `distance` back; none at the end.
fn put(out: &mut Vec<u8>, literals: &[u8], copy: Option<(usize, usize)>) {
    let extra = copy.map_or(0, |(length, _)| length - SHORTEST);
    let token = literals.len().min(FULL) << 4 | extra.min(FULL);
    out.push(token.to_le_bytes()[0]);
    put_rest(out, literals.len());
    out.extend_from_slice(literals);
    if let Some((_, distance)) = copy {
        out.extend_from_slice(&distance.to_le_bytes()[..2]);
        put_rest(out, extra);
    }
}

fn common(bytes: &[u8], one: usize, other: usize) -> usize {
    let (one, other) = (&bytes[one..], &bytes[other..]);
    one.iter().zip(other).take_while(|(x, y)| x == y).count()
}

fn shorten(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() / 2);
    let mut table = vec![0_usize; 1 << TABLE_BITS];
    let (mut from, mut at) = (0, 0);
    while at + SHORTEST <= bytes.len() {
        let word = four(bytes, at);
        let seen = std::mem::replace(&mut table[slot(word)], at);
        let distance = at - seen;
        if (1..=FARTHEST).contains(&distance) && four(bytes, seen) == word {
            let length = SHORTEST + common(bytes, at + SHORTEST, seen + SHORTEST);
            put(&mut out, &bytes[from..at], Some((length, distance)));
            at += length;
            from = at;
        } else {
            at += 1;
        }
    }
    put(&mut out, &bytes[from..], None);
    out
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn length(&mut self, nibble: usize) -> Option<usize> {
        let (mut length, mut more) = (nibble, nibble == FULL);
        while more {
            let byte = self.take(1)?[0];
            length += usize::from(byte);
            more = byte == 255;
        }
        Some(length)
    }
}

fn copy(out: &mut Vec<u8>, length: usize, distance: usize) -> Option<()> {
    let from = out.len().checked_sub(distance).filter(|_| distance > 0)?;
    if distance >= length {
        out.extend_from_within(from..from + length);
    } else {
        // The copy reads what it has just written: a repetition.
        (from..from + length).for_each(|at| out.push(out[at]));
    }
    Some(())
}

/// What [`shorten`] made shorter; `None` if the bytes are not of its making.
fn lengthen(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() * 3);
    let mut reader = Reader { bytes };
    loop {
        let token = usize::from(reader.take(1)?[0]);
        let literals = reader.length(token >> 4)?;
        out.extend_from_slice(reader.take(literals)?);
        if reader.bytes.is_empty() {
            return Some(out);
        }
        let distance = reader.take(2)?;
        let distance = usize::from(u16::from_le_bytes([distance[0], distance[1]]));
        let length = SHORTEST + reader.length(token & FULL)?;
        copy(&mut out, length, distance)?;
    }
}

/// Text of words from a small vocabulary, short ones more often.
fn words(length: usize) -> Vec<u8> {
    let mut random = Random::new(15);
    let word = |random: &mut Random| {
        let letters = 2 + random.below(9);
        (0..letters).map(|_| b"etaoinshrdlucmwy"[random.below(16) as usize]).collect::<Vec<_>>()
    };
    let vocabulary: Vec<_> = (0..2048).map(|_| word(&mut random)).collect();
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        let most = 1 + random.below(2048);
        text.extend_from_slice(&vocabulary[random.below(most) as usize]);
        text.push(b' ');
    }
    text.truncate(length);
    text
}

/// Compresses and decompresses `kib` KiB of text.
#[inline(never)]
pub(crate) fn compress(kib: u32) -> u64 {
    let text = words(1024 * kib as usize);
    let short = shorten(&text);
    let mut sum = Checksum::new();
    sum.add_bytes(&short);
    sum.add(u64::from(lengthen(&short).as_deref() == Some(&text)));
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shortened_comes_back() {
        let repeated = b"abc".repeat(500);
        let noise = Random::new(1).bytes(5000);
        for bytes in [b"".as_slice(), b"a", b"aaaa", b"abcdabcdabcdx", &repeated, &noise] {
            assert_eq!(lengthen(&shorten(bytes)).unwrap(), bytes);
        }
        assert!(shorten(&repeated).len() < 30);
        let text = words(50_000);
        assert!(shorten(&text).len() < 40_000);
        assert_eq!(lengthen(&shorten(&text)).unwrap(), text);
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert_eq!(lengthen(b""), None);
        assert_eq!(lengthen(&[0x10]), None);
        assert_eq!(lengthen(&[0x10, b'a', 9, 0]), None);
    }
}
