//! Products of square matrices: by the textbook, in blocks, and with vectors of four f32.

use crate::random::{Checksum, Random};

/// Side of the block of results that `blocked` keeps in registers.
const TILE: usize = 4;
/// Columns that `vectors` keeps in four registers of four.
const LANES: usize = 16;

fn matrix(side: usize, seed: u64) -> Vec<f64> {
    let mut random = Random::new(seed);
    (0..side * side).map(|_| random.float()).collect()
}

fn checksum(values: impl Iterator<Item = f64>) -> u64 {
    let mut sum = Checksum::new();
    values.for_each(|value| sum.add_float(value));
    sum.value()
}

fn textbook_product(side: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut product = Vec::with_capacity(side * side);
    for row in a.chunks_exact(side) {
        for column in 0..side {
            let down = b[column..].iter().step_by(side);
            product.push(row.iter().zip(down).fold(0.0, |sum, (x, y)| sum + x * y));
        }
    }
    product
}

/// A row times a column at a time: one chain of additions, loads at a stride.
#[inline(never)]
pub(crate) fn textbook(size: u32) -> u64 {
    let side = size as usize;
    let product = textbook_product(side, &matrix(side, 1), &matrix(side, 2));
    checksum(product.into_iter())
}

/// Rows of `a` in groups of [`TILE`], each group column by column, so that a tile reads in order.
fn packed(side: usize, a: &[f64]) -> Vec<f64> {
    let mut packed = Vec::with_capacity(a.len());
    for rows in a.chunks_exact(side * TILE) {
        for at in 0..side {
            packed.extend((0..TILE).map(|row| rows[row * side + at]));
        }
    }
    packed
}

fn transposed(side: usize, b: &[f64]) -> Vec<f64> {
    (0..b.len()).map(|at| b[at % side * side + at / side]).collect()
}

fn tile(rows: &[f64], columns: &[f64]) -> [[f64; TILE]; TILE] {
    let mut sums = [[0.0; TILE]; TILE];
    for (row, column) in rows.chunks_exact(TILE).zip(columns.chunks_exact(TILE)) {
        for (sums, x) in sums.iter_mut().zip(row) {
            for (sum, y) in sums.iter_mut().zip(column) {
                *sum += x * y;
            }
        }
    }
    sums
}

fn blocked_product(side: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
    let (a, b) = (packed(side, a), packed(side, &transposed(side, b)));
    let mut product = vec![0.0; side * side];
    for (i, rows) in a.chunks_exact(side * TILE).enumerate() {
        for (j, columns) in b.chunks_exact(side * TILE).enumerate() {
            for (row, sums) in tile(rows, columns).iter().enumerate() {
                let at = (i * TILE + row) * side + j * TILE;
                product[at..at + TILE].copy_from_slice(sums);
            }
        }
    }
    product
}

/// Blocks of 4 × 4 results from packed copies: sixteen independent chains.
#[inline(never)]
pub(crate) fn blocked(size: u32) -> u64 {
    let side = (size as usize).next_multiple_of(TILE);
    let product = blocked_product(side, &matrix(side, 3), &matrix(side, 4));
    checksum(product.into_iter())
}

/// One row of results. The compiler makes vectors of the inner loop, here and natively.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn vector_row(row: &[f32], b: &[f32], out: &mut [f32]) {
    let side = row.len();
    for (group, out) in out.chunks_exact_mut(LANES).enumerate() {
        let mut sums = [0.0_f32; LANES];
        for (x, line) in row.iter().zip(b.chunks_exact(side)) {
            let line = &line[group * LANES..][..LANES];
            for (sum, y) in sums.iter_mut().zip(line) {
                *sum += x * y;
            }
        }
        out.copy_from_slice(&sums);
    }
}

/// Single precision, sixteen columns at a time in vector registers.
#[inline(never)]
pub(crate) fn vectors(size: u32) -> u64 {
    let side = (size as usize).next_multiple_of(LANES);
    let (a, b) = (singles(side, 5), singles(side, 6));
    let mut product = vec![0.0_f32; side * side];
    for (row, out) in a.chunks_exact(side).zip(product.chunks_exact_mut(side)) {
        vector_row(row, &b, out);
    }
    checksum(product.into_iter().map(f64::from))
}

#[expect(clippy::cast_possible_truncation, reason = "input data in single precision")]
fn singles(side: usize, seed: u64) -> Vec<f32> {
    matrix(side, seed).into_iter().map(|value| value as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(x: &[f64], y: &[f64]) -> bool {
        x.len() == y.len() && x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-4)
    }

    #[test]
    fn all_ways_give_the_same_product() {
        let side = 32;
        let (a, b) = (matrix(side, 5), matrix(side, 6));
        let expected = textbook_product(side, &a, &b);
        assert!(close(&expected, &blocked_product(side, &a, &b)));
        let (a, b) = (singles(side, 5), singles(side, 6));
        let mut product = vec![0.0; side * side];
        for (row, out) in a.chunks_exact(side).zip(product.chunks_exact_mut(side)) {
            vector_row(row, &b, out);
        }
        let product: Vec<f64> = product.into_iter().map(f64::from).collect();
        assert!(close(&expected, &product));
    }
}
