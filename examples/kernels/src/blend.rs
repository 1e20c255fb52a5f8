//! Blending of two pictures: integer vectors of 8 and 16 bits.

use crate::random::{Checksum, Random};

/// Bytes of a picture.
const PICTURE: usize = 64 * 1024;

/// `below` with a share `alpha` / 256 of `above` over it, rounded.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn over(below: &mut [u8], above: &[u8], alpha: u8) {
    let (keep, take) = (256 - u16::from(alpha), u16::from(alpha));
    for (below, above) in below.iter_mut().zip(above) {
        let mixed = u16::from(*below) * keep + u16::from(*above) * take;
        *below = (mixed >> 8).to_le_bytes()[0];
    }
}

/// Lightens what is dark, without going over the top.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn lighten(picture: &mut [u8]) {
    for value in picture {
        *value = (*value).max(64).saturating_add(3);
    }
}

/// Blends `times` pictures, one over the other.
#[inline(never)]
pub(crate) fn blend(times: u32) -> u64 {
    let mut random = Random::new(8);
    let mut picture = random.bytes(PICTURE);
    let above: Vec<Vec<u8>> = (0..4).map(|_| random.bytes(PICTURE)).collect();
    for (_, above) in (0..times).zip(above.iter().cycle()) {
        over(&mut picture, above, random.byte());
        lighten(&mut picture);
    }
    let mut sum = Checksum::new();
    sum.add_bytes(&picture);
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_between_both() {
        let mut below = [0, 200, 255];
        over(&mut below, &[200, 0, 255], 64);
        assert_eq!(below, [50, 150, 255]);
        lighten(&mut below);
        assert_eq!(below, [67, 153, 255]);
    }
}
