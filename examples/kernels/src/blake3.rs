//! BLAKE3 by its paper, without vectors: many live 32-bit words, a tree of chunks.

use crate::random::{Checksum, Random};

const BLOCK: usize = 64;
const CHUNK: usize = 1024;
const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const PARENT: u32 = 4;
const ROOT: u32 = 8;
const KEY: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
const ORDER: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];

/// What the compression of a block takes besides the chaining value.
#[derive(Clone, Copy)]
struct Block {
    words: [u32; 16],
    counter: u64,
    length: u32,
    flags: u32,
}

#[inline(always)]
fn mix(state: &mut [u32; 16], [a, b, c, d]: [usize; 4], x: u32, y: u32) {
    for (word, first, second) in [(x, 16, 12), (y, 8, 7)] {
        state[a] = state[a].wrapping_add(state[b]).wrapping_add(word);
        state[d] = (state[d] ^ state[a]).rotate_right(first);
        state[c] = state[c].wrapping_add(state[d]);
        state[b] = (state[b] ^ state[c]).rotate_right(second);
    }
}

#[inline(always)]
fn round(state: &mut [u32; 16], words: &[u32; 16]) {
    mix(state, [0, 4, 8, 12], words[0], words[1]);
    mix(state, [1, 5, 9, 13], words[2], words[3]);
    mix(state, [2, 6, 10, 14], words[4], words[5]);
    mix(state, [3, 7, 11, 15], words[6], words[7]);
    mix(state, [0, 5, 10, 15], words[8], words[9]);
    mix(state, [1, 6, 11, 12], words[10], words[11]);
    mix(state, [2, 7, 8, 13], words[12], words[13]);
    mix(state, [3, 4, 9, 14], words[14], words[15]);
}

/// The low and high halves of a 64-bit number.
fn halves(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

fn compress(chain: &[u32; 8], block: &Block) -> [u32; 8] {
    let [low, high] = halves(block.counter);
    let [a, b, c, d, e, f, g, h] = *chain;
    let [k, l, m, n, ..] = KEY;
    let mut state = [a, b, c, d, e, f, g, h, k, l, m, n, low, high, block.length, block.flags];
    let mut words = block.words;
    for _ in 0..6 {
        round(&mut state, &words);
        words = ORDER.map(|at| words[at]);
    }
    round(&mut state, &words);
    let (low, high) = state.split_at(8);
    let mut out = [0; 8];
    for (out, (x, y)) in out.iter_mut().zip(low.iter().zip(high)) {
        *out = x ^ y;
    }
    out
}

/// The last block of a node and what comes before it: the root's gets one flag more.
struct Node {
    chain: [u32; 8],
    last: Block,
}

impl Node {
    fn chunk(bytes: &[u8], counter: u64) -> Self {
        let blocks: Vec<&[u8]> =
            if bytes.is_empty() { vec![bytes] } else { bytes.chunks(BLOCK).collect() };
        let mut node = Self { chain: KEY, last: block(blocks[0], counter, CHUNK_START) };
        for next in &blocks[1..] {
            node = Self { chain: node.value(0), last: block(next, counter, 0) };
        }
        node.last.flags |= CHUNK_END;
        node
    }

    fn parent(left: &Self, right: &Self) -> Self {
        let mut words = [0; 16];
        words[..8].copy_from_slice(&left.value(0));
        words[8..].copy_from_slice(&right.value(0));
        Self { chain: KEY, last: Block { words, counter: 0, length: 64, flags: PARENT } }
    }

    fn tree(bytes: &[u8], counter: u64) -> Self {
        if bytes.len() <= CHUNK {
            return Self::chunk(bytes, counter);
        }
        // The left part is the largest power of two of chunks that leaves something on the right.
        let chunks = (bytes.len().div_ceil(CHUNK).next_power_of_two()) / 2;
        let (left, right) = bytes.split_at(chunks * CHUNK);
        Self::parent(&Self::tree(left, counter), &Self::tree(right, counter + chunks as u64))
    }

    fn value(&self, flags: u32) -> [u32; 8] {
        compress(&self.chain, &Block { flags: self.last.flags | flags, ..self.last })
    }
}

fn block(bytes: &[u8], counter: u64, flags: u32) -> Block {
    let mut padded = [0; BLOCK];
    padded[..bytes.len()].copy_from_slice(bytes);
    let mut words = [0; 16];
    for (word, four) in words.iter_mut().zip(padded.chunks_exact(4)) {
        *word = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    }
    Block { words, counter, length: u32::try_from(bytes.len()).unwrap_or(u32::MAX), flags }
}

/// Hashes `kib` KiB.
#[inline(never)]
pub(crate) fn hash(kib: u32) -> u64 {
    let message = Random::new(12).bytes(1024 * kib as usize);
    let mut sum = Checksum::new();
    Node::tree(&message, 0).value(ROOT).into_iter().for_each(|word| sum.add(word.into()));
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_library() {
        let message = Random::new(1).bytes(7 * CHUNK);
        for length in [0, 1, 64, 65, 1023, 1024, 1025, 2048, 3 * CHUNK, 5 * CHUNK + 1, 7 * CHUNK] {
            let words = Node::tree(&message[..length], 0).value(ROOT);
            let digest: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
            assert_eq!(digest, ::blake3::hash(&message[..length]).as_bytes(), "{length}");
        }
    }
}
