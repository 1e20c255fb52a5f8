//! Medians, geometric means and rounding.

/// The median; of an even number of values the mean of the middle two. 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => 0.0,
        Some(upper) if sorted.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(sorted[middle - 1], *upper),
    }
}

/// The geometric mean; 1 of none.
pub(crate) fn geometric_mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) =
        values.into_iter().fold((0.0, 0_u32), |(sum, count), value| (sum + value.ln(), count + 1));
    (sum / f64::from(count.max(1))).exp()
}

/// A figure for reports: three decimals.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_ignore_outliers() {
        let medians = [&[3.0, 1.0, 900.0][..], &[1.0, 4.0, 2.0, 900.0], &[7.0], &[]].map(median);
        assert_eq!(medians.map(rounded), [3.0, 3.0, 7.0, 0.0]);
    }

    #[test]
    fn the_geometric_mean_of_inverses_is_one() {
        assert!((geometric_mean([4.0, 0.25]) - 1.0).abs() < 1e-12);
        assert!((geometric_mean([2.0, 8.0]) - 4.0).abs() < 1e-12);
        assert!((geometric_mean([]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn figures_have_three_decimals() {
        assert!((rounded(1.234_56) - 1.235).abs() < 1e-12);
    }
}
