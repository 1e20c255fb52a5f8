//! Quicksort of numbers: unpredictable branches and recursion.

use crate::random::{Checksum, Random};

/// Ranges up to this are sorted by insertion.
const SMALL: usize = 16;

fn insertion(values: &mut [i32]) {
    for end in 1..values.len() {
        let mut at = end;
        while at > 0 && values[at - 1] > values[at] {
            values.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// Moves what is smaller than the median of three to the left and gives its place (Hoare 1962).
fn partition(values: &mut [i32]) -> usize {
    let (middle, last) = (values.len() / 2, values.len() - 1);
    for (low, high) in [(0, middle), (middle, last), (0, middle)] {
        if values[low] > values[high] {
            values.swap(low, high);
        }
    }
    let pivot = values[middle];
    let (mut left, mut right) = (0, last);
    loop {
        while values[left] < pivot {
            left += 1;
        }
        while values[right] > pivot {
            right -= 1;
        }
        if left >= right {
            return right + 1;
        }
        values.swap(left, right);
        left += 1;
        right -= 1;
    }
}

fn sort(mut values: &mut [i32]) {
    while values.len() > SMALL {
        let cut = partition(values);
        let (left, right) = values.split_at_mut(cut);
        // The smaller part by recursion: depth stays logarithmic.
        if left.len() < right.len() {
            sort(left);
            values = right;
        } else {
            sort(right);
            values = left;
        }
    }
    insertion(values);
}

/// Sorts `count` random numbers.
#[inline(never)]
pub(crate) fn quicksort(count: u32) -> u64 {
    let mut random = Random::new(10);
    let mut values: Vec<i32> = (0..count).map(|_| random.word().cast_signed()).collect();
    sort(&mut values);
    let mut sum = Checksum::new();
    values.iter().step_by(64).for_each(|value| sum.add(u64::from(value.cast_unsigned())));
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_like_the_library() {
        let mut random = Random::new(1);
        for spread in [1, 3, 1000, u32::MAX] {
            let mut values: Vec<_> =
                (0..5000).map(|_| random.below(spread).cast_signed()).collect();
            let mut expected = values.clone();
            expected.sort_unstable();
            sort(&mut values);
            assert_eq!(values, expected);
            sort(&mut values);
            assert_eq!(values, expected);
        }
    }
}
