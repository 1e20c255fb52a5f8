//! Merkle trees in the shape of RFC 6962 over BLAKE3, with range proofs.
//!
//! Leaf, node and empty tree have contexts of their own, and an odd node is promoted, never duplicated, so that no two
//! lists share a root.

use crate::id::Digest;
use crate::sign::digest_in_context;

/// The leaf for `data`.
#[must_use]
pub fn leaf(data: &[u8]) -> Digest {
    digest_in_context("leaf", &[data])
}

fn node(left: Digest, right: Digest) -> Digest {
    digest_in_context("node", &[left.as_bytes(), right.as_bytes()])
}

/// The largest power of two below `count`, which is at least 2.
const fn split(count: usize) -> usize {
    1 << (usize::BITS - 1 - (count - 1).leading_zeros())
}

/// The root over `leaves`.
///
/// ```
/// use tallymill_protocol::merkle::{leaf, root};
/// assert_ne!(root(&[leaf(b"a")]), root(&[leaf(b"a"), leaf(b"a")]));
/// ```
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => digest_in_context("empty", &[]),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(root(left), root(right))
        }
    }
}

/// The roots of the maximal subtrees outside `from..to`, left to right: with the leaves of the range they give the root.
#[must_use]
pub fn range_proof(leaves: &[Digest], from: usize, to: usize) -> Vec<Digest> {
    let mut proof = Vec::new();
    collect_outside(leaves, 0, (from, to), &mut proof);
    proof
}

fn collect_outside(
    leaves: &[Digest],
    start: usize,
    range: (usize, usize),
    proof: &mut Vec<Digest>,
) {
    let end = start + leaves.len();
    if end <= range.0 || start >= range.1 {
        proof.push(root(leaves));
    } else if start < range.0 || end > range.1 {
        let (left, right) = leaves.split_at(split(leaves.len()));
        collect_outside(left, start, range, proof);
        collect_outside(right, start + left.len(), range, proof);
    }
}

/// Whether `leaves` are those from position `from` on of the tree of `count` leaves with this root.
#[must_use]
pub fn verify_range(
    expected: Digest,
    count: usize,
    from: usize,
    leaves: &[Digest],
    proof: &[Digest],
) -> bool {
    let Some(to) = from.checked_add(leaves.len()).filter(|to| *to <= count) else { return false };
    if leaves.is_empty() {
        return false;
    }
    let mut walk = Walk { leaves, range: (from, to), proof: proof.iter() };
    walk.root(0, count).is_some_and(|root| root == expected) && walk.proof.next().is_none()
}

struct Walk<'p> {
    leaves: &'p [Digest],
    range: (usize, usize),
    proof: std::slice::Iter<'p, Digest>,
}

impl Walk<'_> {
    fn root(&mut self, start: usize, count: usize) -> Option<Digest> {
        let end = start + count;
        if end <= self.range.0 || start >= self.range.1 {
            return self.proof.next().copied();
        }
        if start >= self.range.0 && end <= self.range.1 {
            return Some(root(&self.leaves[start - self.range.0..end - self.range.0]));
        }
        let left = self.root(start, split(count))?;
        let right = self.root(start + split(count), count - split(count))?;
        Some(node(left, right))
    }
}
