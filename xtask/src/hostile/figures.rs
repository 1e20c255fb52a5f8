//! What the sandbox's program measured: lines of JSON.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;
use serde_json::Value;

use crate::repo;

/// How long a guest goes on behind its limit, and behind an order to stop, ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Past {
    limit: f64,
    stop: f64,
}

impl Past {
    fn worst(self) -> f64 {
        self.limit.max(self.stop)
    }
}

impl fmt::Display for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.2}", self.worst()))
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Of guests that run, also of those that cost as much as they can, by name.
    pub(super) past: BTreeMap<String, Past>,
    /// What guests pay that cost as much as they can, as a share of the ordinary price; the least first.
    pub(super) harms: Vec<(String, f64)>,
    /// What a unit of fuel takes in ordinary work, ns.
    typical: f64,
    /// What workers take it for, as a share of that.
    pub(super) taken_for: f64,
}

impl Figures {
    /// The guest that goes on longest, and how long.
    pub(super) fn worst(&self) -> (&str, f64) {
        let all = self.past.iter().map(|(name, past)| (name.as_str(), past.worst()));
        all.max_by(|one, other| one.1.total_cmp(&other.1)).unwrap_or(("nobody", f64::INFINITY))
    }

    /// What a guest pays.
    pub(super) fn pays(&self, name: &str) -> anyhow::Result<f64> {
        let known = self.harms.iter().find(|(known, _)| known == name);
        known.map(|(_, pays)| *pays).with_context(|| format!("{name} was not measured"))
    }

    /// The fuel that ordinary work uses in so many nanoseconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
    pub(super) fn fuel_of(&self, ns: f64) -> anyhow::Result<u64> {
        let fuel = ns / self.typical;
        anyhow::ensure!((1.0..1e18).contains(&fuel), "ordinary work takes {} ns", self.typical);
        Ok(fuel as u64)
    }
}

/// Builds the program and runs it.
pub(super) fn measure() -> anyhow::Result<Figures> {
    let mut bench = repo::cargo();
    bench.args(["bench", "--quiet", "--locked", "--package", "tallymill-sandbox", "--bench"]);
    let said = repo::output(bench.arg("hostile")).context("failed to measure")?;
    read(&said)
}

fn read(said: &str) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for line in said.lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line)?;
        let number = |name: &str| {
            line[name].as_f64().with_context(|| format!("{name} is missing in {line}"))
        };
        if let Some(guest) = line["guest"].as_str() {
            let past = Past { limit: number("past_ms")?, stop: number("stop_ms")? };
            figures.past.insert(guest.to_owned(), past);
        } else if let Some(typical) = line["typical_ns"].as_f64() {
            (figures.typical, figures.taken_for) = (typical, number("taken_for")?);
        } else if let Some(harm) = line["harm"].as_str() {
            let past = Past { limit: 0.0, stop: number("stop_ms")? };
            figures.past.insert(harm.to_owned(), past);
            figures.harms.push((harm.to_owned(), number("pays")?));
        }
    }
    figures.harms.sort_by(|one, other| one.1.total_cmp(&other.1));
    Ok(figures)
}

/// With six decimals: what pays least pays very little.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_figures() {
        let said = "noise\n{\"guest\":\"a\",\"past_ms\":1.5,\"stop_ms\":2.0}\n{\"guest\":\"b\",\"past_ms\":1.0,\"stop_ms\":0.0}
{\"typical_ns\":0.01,\"taken_for\":1.1}\n{\"ordinary\":\"o\",\"pays\":1.0}\n{\"harm\":\"x\",\"pays\":0.9,\"stop_ms\":3.0}\n{\"harm\":\"y\",\"pays\":0.2,\"stop_ms\":0.1}";
        let figures = read(said).unwrap();
        assert_eq!(figures.worst(), ("x", 3.0));
        assert_eq!(figures.past["b"].to_string(), "1.00");
        assert_eq!((figures.fuel_of(50.0).unwrap(), figures.taken_for), (5_000, 1.1));
        assert_eq!(figures.pays("x").unwrap(), 0.9);
        assert!(figures.pays("z").is_err());
        assert!(read("{\"guest\":\"a\",\"past_ms\":1}").is_err());
    }

    #[test]
    fn nothing_measured_is_nothing_held() {
        assert_eq!(Figures::default().worst().1, f64::INFINITY);
        assert!(Figures::default().fuel_of(1.0).is_err());
    }
}
