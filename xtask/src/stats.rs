//! Figures over many measurements.

use std::time::Duration;

/// The smallest time that at least `percent` of all do not exceed, seconds; 0 when there are none.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map_or(0.0, Duration::as_secs_f64)
}

/// What a figure may be at most, by its name in the line.
pub(crate) fn missed(line: &serde_json::Value, most: &[(&str, f64)]) -> Vec<String> {
    let over = |(name, most): &(&str, f64)| {
        let found = line[name].as_f64().unwrap_or(f64::INFINITY);
        (found > *most).then(|| format!("{name} is {found}, required is at most {most}"))
    };
    most.iter().filter_map(over).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let close = |percent, expected: f64| (percentile(&times, percent) - expected).abs() < 1e-9;
        assert!(close(99, 0.198) && close(50, 0.1) && close(100, 0.2));
        assert!(percentile(&[], 99) < 1e-9);
    }

    #[test]
    fn figures_that_are_missed_or_missing_are_named() {
        let line = serde_json::json!({ "a": 2.0, "b": 3.5 });
        assert_eq!(missed(&line, &[("a", 2.0), ("b", 4.0)]), [""; 0]);
        let said = missed(&line, &[("a", 1.0), ("c", 1.0)]);
        assert_eq!(said[0], "a is 2, required is at most 1");
        assert!(said[1].starts_with("c is inf"));
    }
}
