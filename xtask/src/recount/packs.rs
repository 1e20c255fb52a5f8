//! Receipts out of the packs of the database, by the description in its migration and not by the code that wrote them.

use anyhow::{Context, bail, ensure};

/// Most bytes of receipts that a pack may hold.
const LARGEST: usize = 1 << 20;

/// The receipts of a pack with their positions.
pub(crate) fn unpack(
    packing: i64,
    position: i64,
    bytes: &[u8],
) -> anyhow::Result<Vec<(i64, Vec<u8>)>> {
    match packing {
        0 => return Ok(vec![(position, bytes.to_vec())]),
        1 => {}
        other => bail!("packing {other} is not known"),
    }
    let (size, block) = lz4_flex::block::uncompressed_size(bytes)?;
    ensure!(size <= LARGEST, "a pack of {size} bytes");
    let joined = lz4_flex::block::decompress(block, size)?;
    ensure!(joined.len() == size, "a pack is cut");
    let (mut at, mut position, mut receipts) = (0, position, Vec::new());
    while at < joined.len() {
        position += i64::from(number(&joined, at)?);
        let length = usize::try_from(number(&joined, at + 4)?)?;
        let receipt = joined.get(at + 8..at + 8 + length).context("a receipt is cut")?;
        receipts.push((position, receipt.to_vec()));
        at += 8 + length;
    }
    Ok(receipts)
}

/// Four big-endian bytes.
fn number(bytes: &[u8], at: usize) -> anyhow::Result<u32> {
    let four = bytes.get(at..at + 4).context("a number is cut")?;
    Ok(u32::from_be_bytes(four.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_come_apart() {
        let mut joined = Vec::new();
        for (gap, receipt) in [(0_u32, "first"), (3, ""), (1, "third")] {
            joined.extend(gap.to_be_bytes());
            joined.extend(u32::try_from(receipt.len()).unwrap().to_be_bytes());
            joined.extend(receipt.as_bytes());
        }
        let block = lz4_flex::block::compress_prepend_size(&joined);
        let expected = [(5, b"first".to_vec()), (8, Vec::new()), (9, b"third".to_vec())];
        assert_eq!(unpack(1, 5, &block).unwrap(), expected);
        assert_eq!(unpack(0, 5, b"alone").unwrap(), [(5, b"alone".to_vec())]);
        assert!(unpack(2, 5, &block).is_err());
        joined.pop();
        assert!(unpack(1, 5, &lz4_flex::block::compress_prepend_size(&joined)).is_err());
        let bomb = lz4_flex::block::compress_prepend_size(&vec![0; LARGEST + 1]);
        assert!(unpack(1, 5, &bomb).is_err());
    }
}
