//! Base64 and back: bytes, tables, shifts.

use crate::random::{Checksum, Random};

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const INVALID: u8 = 0xff;

fn letter(bits: u32) -> u8 {
    LETTERS[(bits & 63) as usize]
}

fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    let mut triples = bytes.chunks_exact(3);
    for triple in triples.by_ref() {
        let bits = u32::from_be_bytes([0, triple[0], triple[1], triple[2]]);
        text.extend([letter(bits >> 18), letter(bits >> 12), letter(bits >> 6), letter(bits)]);
    }
    match *triples.remainder() {
        [] => {}
        [a, ..] => {
            let b = triples.remainder().get(1);
            let bits = u32::from_be_bytes([0, a, b.copied().unwrap_or(0), 0]);
            let third = if b.is_some() { letter(bits >> 6) } else { b'=' };
            text.extend([letter(bits >> 18), letter(bits >> 12), third, b'=']);
        }
    }
    text
}

fn values() -> [u8; 256] {
    let mut values = [INVALID; 256];
    for (value, letter) in (0..).zip(LETTERS) {
        values[*letter as usize] = value;
    }
    values
}

/// The bytes of a text that `encode` gave; `None` for any other.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let values = values();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.chunks(4) {
        let filled = four.iter().take_while(|letter| **letter != b'=').count();
        let mut bits = 0;
        for letter in &four[..filled] {
            let value = values[*letter as usize];
            if value == INVALID {
                return None;
            }
            bits = bits << 6 | u32::from(value);
        }
        let [_, all @ ..] = (bits << (6 * (4 - filled))).to_be_bytes();
        bytes.extend_from_slice(all.get(..filled.checked_sub(1)?)?);
    }
    Some(bytes)
}

/// Encodes and decodes `kib` KiB.
#[inline(never)]
pub(crate) fn base64(kib: u32) -> u64 {
    let bytes = Random::new(14).bytes(1024 * kib as usize);
    let text = encode(&bytes);
    let mut sum = Checksum::new();
    sum.add_bytes(&text);
    sum.add(u64::from(decode(&text).as_deref() == Some(&bytes)));
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_rfc_4648() {
        let pairs: [(&[u8], &[u8]); 5] = [
            (b"", b""),
            (b"f", b"Zg=="),
            (b"fo", b"Zm8="),
            (b"foo", b"Zm9v"),
            (b"foobar", b"Zm9vYmFy"),
        ];
        for (bytes, text) in pairs {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).unwrap(), bytes);
        }
        assert_eq!(decode(b"Zm9*"), None);
    }
}
