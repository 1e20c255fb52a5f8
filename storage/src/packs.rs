//! Receipts as they are stored: those of one job in one report share most of their bytes, so they stand together in LZ4 blocks.

/// Most receipts in one pack: few enough that one of them is read at little cost, and all of them within LZ4's window.
const MOST: usize = 128;
/// Most bytes of a pack before it is compressed.
const LARGEST: usize = 1 << 20;

/// One receipt as it was encoded.
const PLAIN: u8 = 0;
/// Several, compressed.
const BLOCK: u8 = 1;

/// Receipts from one position of a report to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pack {
    /// Position of the first.
    pub(crate) first: u32,
    /// Position of the last.
    pub(crate) last: u32,
    /// How they are packed.
    pub(crate) packing: u8,
    /// All of them.
    pub(crate) bytes: Vec<u8>,
}

/// Packs receipts whose positions rise.
pub(crate) fn pack(receipts: &[(u32, &[u8])]) -> Vec<Pack> {
    let mut packs = Vec::new();
    let mut rest = receipts;
    while let [(first, alone), ..] = rest {
        let (now, later) = rest.split_at(fitting(rest));
        let last = now.last().map_or(*first, |(position, _)| *position);
        let (packing, bytes) = match now {
            [_] => (PLAIN, alone.to_vec()),
            several => (BLOCK, lz4_flex::block::compress_prepend_size(&joined(several))),
        };
        packs.push(Pack { first: *first, last, packing, bytes });
        rest = later;
    }
    packs
}

/// How many of the first receipts make a pack; at least one.
fn fitting(receipts: &[(u32, &[u8])]) -> usize {
    let mut bytes = 0;
    let fits = receipts.iter().take(MOST).take_while(|(_, receipt)| {
        bytes += HEAD + receipt.len();
        bytes <= LARGEST
    });
    fits.count().max(1)
}

/// Bytes before each receipt: the gap to the position before, and its length.
const HEAD: usize = 8;

fn joined(receipts: &[(u32, &[u8])]) -> Vec<u8> {
    let mut before = receipts.first().map_or(0, |(first, _)| *first);
    let mut bytes = Vec::with_capacity(receipts.iter().map(|(_, it)| HEAD + it.len()).sum());
    for (position, receipt) in receipts {
        let length = u32::try_from(receipt.len()).unwrap_or(u32::MAX);
        bytes.extend(position.saturating_sub(before).to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend_from_slice(receipt);
        before = *position;
    }
    bytes
}

/// The receipts of a pack with their positions; `None` where it makes no sense.
pub(crate) fn unpack(first: u32, packing: u8, bytes: &[u8]) -> Option<Vec<(u32, Vec<u8>)>> {
    if packing == PLAIN {
        return Some(vec![(first, bytes.to_vec())]);
    }
    let (size, _) = lz4_flex::block::uncompressed_size(bytes).ok()?;
    if packing != BLOCK || size > LARGEST {
        return None;
    }
    let joined = lz4_flex::block::decompress_size_prepended(bytes).ok()?;
    // A block that was cut after one of its steps ends early without an error.
    if joined.len() != size {
        return None;
    }
    let (mut rest, mut position, mut receipts) = (joined.as_slice(), first, Vec::new());
    while !rest.is_empty() {
        let (gap, after) = rest.split_first_chunk()?;
        let (length, after) = after.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (receipt, after) = after.split_at_checked(length)?;
        position = position.checked_add(u32::from_be_bytes(*gap))?;
        receipts.push((position, receipt.to_vec()));
        rest = after;
    }
    Some(receipts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Like receipts: mostly the same, with some bytes that nobody can guess.
    fn receipts(count: u32) -> Vec<(u32, Vec<u8>)> {
        let of = |n: u32| {
            let mut bytes = vec![7; 300];
            bytes[100..132].copy_from_slice(&tallymill_protocol::Digest::of(&n.to_be_bytes()).0);
            (3 * n + 5, bytes)
        };
        (0..count).map(of).collect()
    }

    fn packed(receipts: &[(u32, Vec<u8>)]) -> Vec<Pack> {
        let views: Vec<_> = receipts.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
        pack(&views)
    }

    fn unpacked(packs: &[Pack]) -> Vec<(u32, Vec<u8>)> {
        packs.iter().flat_map(|it| unpack(it.first, it.packing, &it.bytes).unwrap()).collect()
    }

    #[test]
    fn what_was_packed_comes_out_again() {
        for count in [0, 1, 2, 127, 128, 129, 300] {
            let receipts = receipts(count);
            assert_eq!(unpacked(&packed(&receipts)), receipts);
        }
    }

    #[test]
    fn packs_are_small_and_say_what_they_hold() {
        let packs = packed(&receipts(129));
        let ends: Vec<_> = packs.iter().map(|it| (it.first, it.last, it.packing)).collect();
        assert_eq!(ends, [(5, 386, BLOCK), (389, 389, PLAIN)]);
        assert!(packs[0].bytes.len() < 128 * 60, "{}", packs[0].bytes.len());
    }

    #[test]
    fn large_receipts_make_packs_of_fewer() {
        let large: Vec<_> = (0..5).map(|n| (n, vec![1; LARGEST / 2 - HEAD])).collect();
        let packs = packed(&large);
        let ends: Vec<_> = packs.iter().map(|it| (it.first, it.last)).collect();
        assert_eq!(ends, [(0, 1), (2, 3), (4, 4)]);
        assert_eq!(unpacked(&packs), large);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let good = packed(&receipts(3)).remove(0).bytes;
        assert!(unpack(5, BLOCK, &good).is_some());
        assert_eq!(unpack(5, 2, &good), None, "an unknown packing");
        assert_eq!(unpack(u32::MAX, BLOCK, &good), None, "a position beyond all");
        for length in 0..good.len() {
            assert_eq!(unpack(5, BLOCK, &good[..length]), None, "cut after {length}");
        }
        let bomb = lz4_flex::block::compress_prepend_size(&vec![0; LARGEST + 8]);
        assert_eq!(unpack(5, BLOCK, &bomb), None, "larger than any");
        let mut trailing = joined(&[(5, b"ab"), (6, b"cd")]);
        trailing.push(0);
        let trailing = lz4_flex::block::compress_prepend_size(&trailing);
        assert_eq!(unpack(5, BLOCK, &trailing), None, "bytes after the last");
    }
}
