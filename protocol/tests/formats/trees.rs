//! Merkle trees against RFC 6962's recursion written a second time, and every range proof of small trees.

use std::collections::BTreeSet;

use tallymill_protocol::Message;
use tallymill_protocol::merkle::{leaf, range_proof, root, verify_range};
use tallymill_protocol::{Digest, Receipt, Report};

use crate::any::{Any, Source};

const MOST: usize = 33;

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
}

fn hash(context: &str, data: &[u8]) -> Digest {
    let context = format!("tallymill/v1/{context}");
    let bytes = [&[u8::try_from(context.len()).unwrap()], context.as_bytes(), data].concat();
    Digest(*blake3::hash(&bytes).as_bytes())
}

/// MTH of RFC 6962 §2.1: k is the largest power of two smaller than n.
fn by_the_book(data: &[Vec<u8>]) -> Digest {
    match data.len() {
        0 => hash("empty", &[]),
        1 => hash("leaf", &data[0]),
        n => {
            let mut k = 1;
            while k * 2 < n {
                k *= 2;
            }
            let (left, right) = (by_the_book(&data[..k]), by_the_book(&data[k..]));
            hash("node", &[left.0, right.0].concat())
        }
    }
}

#[test]
fn the_shape_is_that_of_rfc_6962() {
    for count in (0..=130).chain([255, 256, 257, 1000]) {
        let data: Vec<_> = (0..count).map(|n: usize| n.to_be_bytes().to_vec()).collect();
        assert_eq!(root(&leaves(count)), by_the_book(&data), "{count} leaves");
    }
}

#[test]
fn no_two_lists_share_a_root() {
    let mut roots = BTreeSet::new();
    for count in 0..=MOST {
        let mut list = leaves(count);
        assert!(roots.insert(root(&list)), "{count} leaves");
        for _ in 0..4 {
            if let Some(last) = list.last().copied() {
                list.push(last);
                assert!(roots.insert(root(&list)), "a repeated last leaf after {count}");
            }
        }
    }
    let pair = leaves(2);
    let inner = [pair[0].0, pair[1].0].concat();
    assert_ne!(leaf(&inner), root(&pair), "a leaf is no inner node");
}

/// Proofs that differ from a right one and must not be believed.
fn wrong_proofs(proof: &[Digest]) -> Vec<Vec<Digest>> {
    let mut wrong = vec![[proof, &[leaf(b"more")]].concat()];
    for at in 0..proof.len() {
        let mut changed = proof.to_vec();
        changed[at].0[at % 32] ^= 1;
        wrong.push(changed);
        wrong.push([&proof[..at], &proof[at + 1..]].concat());
    }
    if proof.len() > 1 {
        wrong.push(proof.iter().rev().copied().collect());
    }
    wrong
}

#[test]
fn every_range_is_proven_and_nothing_else() {
    for count in 1..=MOST {
        let all = leaves(count);
        let expected = root(&all);
        for from in 0..count {
            for to in from + 1..=count {
                let (part, proof) = (&all[from..to], range_proof(&all, from, to));
                assert!(
                    verify_range(expected, count, from, part, &proof),
                    "{from}..{to} of {count}"
                );
                let mut forged = part.to_vec();
                forged[(to - from) / 2].0[0] ^= 1;
                assert!(
                    !verify_range(expected, count, from, &forged, &proof),
                    "a wrong leaf in {from}..{to}"
                );
                assert!(
                    !verify_range(expected, count, from + 1, part, &proof),
                    "{from}..{to} moved up"
                );
                assert!(
                    from == 0 || !verify_range(expected, count, from - 1, part, &proof),
                    "moved down"
                );
                for wrong in wrong_proofs(&proof) {
                    assert!(
                        !verify_range(expected, count, from, part, &wrong),
                        "{from}..{to} of {count}"
                    );
                }
            }
        }
    }
}

#[test]
fn ranges_outside_the_tree_prove_nothing() {
    let all = leaves(5);
    let expected = root(&all);
    assert!(!verify_range(expected, 5, 0, &[], &[expected]), "an empty range");
    assert!(!verify_range(expected, 4, 0, &all, &[]), "more leaves than the tree has");
    assert!(!verify_range(expected, 5, usize::MAX, &all[..1], &[]));
    assert!(!verify_range(expected, 0, 0, &[], &[]));
}

#[test]
fn a_report_covers_exactly_its_receipts() {
    let mut source = Source(3);
    let receipts: Vec<_> = (0..5).map(|_| Receipt::any(&mut source).to_bytes()).collect();
    let digests: Vec<_> = receipts.iter().map(|bytes| leaf(bytes)).collect();
    let report = Report { count: 5, root: root(&digests), ..Report::any(&mut source) };
    let covers = |list: &[Vec<u8>]| report.covers(list.iter().map(Vec::as_slice));
    assert!(covers(&receipts));
    assert!(!covers(&receipts[..4]));
    let mut swapped = receipts.clone();
    swapped.swap(0, 1);
    assert!(!covers(&swapped));
    let miscounted = Report { count: 4, ..report.clone() };
    assert!(!miscounted.covers(receipts.iter().map(Vec::as_slice)));
}
