//! Smith–Waterman: the best local alignment of two sequences of bases with affine gaps.

use crate::random::{Checksum, Random};

const MATCH: i32 = 2;
const MISMATCH: i32 = -3;
const OPEN: i32 = -5;
const EXTEND: i32 = -2;

/// A cell of the row above: the best alignment that ends there, and the best that ends in a gap.
#[derive(Clone, Copy, Default)]
struct Cell {
    best: i32,
    gap: i32,
}

fn best_score(across: &[u8], down: &[u8]) -> i32 {
    let mut row = vec![Cell::default(); across.len()];
    let mut best = 0;
    for base in down {
        let (mut diagonal, mut left, mut gap) = (0, 0, 0);
        for (cell, other) in row.iter_mut().zip(across) {
            let step = if base == other { MATCH } else { MISMATCH };
            gap = (left + OPEN).max(gap + EXTEND);
            cell.gap = (cell.best + OPEN).max(cell.gap + EXTEND);
            left = (diagonal + step).max(gap).max(cell.gap).max(0);
            diagonal = cell.best;
            cell.best = left;
            best = best.max(left);
        }
    }
    best
}

/// Aligns two related sequences of `length` bases.
#[inline(never)]
pub(crate) fn align(length: u32) -> u64 {
    let mut random = Random::new(13);
    let base = |random: &mut Random| b"ACGT"[random.below(4) as usize];
    let one: Vec<u8> = (0..length).map(|_| base(&mut random)).collect();
    let mut other = Vec::with_capacity(one.len());
    for &letter in &one {
        match random.below(20) {
            0 => other.push(base(&mut random)),
            1 => other.extend([letter, base(&mut random)]),
            2 => {}
            _ => other.push(letter),
        }
    }
    let mut sum = Checksum::new();
    sum.add(u64::from(best_score(&one, &other).cast_unsigned()));
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_as_by_hand() {
        assert_eq!(best_score(b"ACGT", b"ACGT"), 8);
        assert_eq!(best_score(b"AAAA", b"CCCC"), 0);
        // Six matches on each side of a gap of two: 24 − 5 − 2.
        assert_eq!(best_score(b"ACGTGATTCAGC", b"ACGTGACCTTCAGC"), 17);
        assert_eq!(best_score(b"", b"ACGT"), 0);
    }
}
