//! Fits the weights of operators to time, and checks those in use.
//!
//! Kernels say what ordinary work costs, micro-kernels what the worst costs. The fit wants every
//! kernel to pay alike for a second, and no guest to pay less than half of that.

mod count;
mod guests;
mod measure;
mod micro;
mod solve;
mod table;

use std::path::PathBuf;

use anyhow::bail;
use serde_json::{Value, json};
use tallymill_meter::{CostTable, Unit};
use tallymill_sandbox::{profile, with_stack};

use crate::guest::Bench;
use crate::println;
use crate::stats::{geometric_mean, rounded};
use count::{Counter, Part, parts};
use measure::{Guest, Maker, measure, spread, worst};
use solve::{HARM, Role, Sample};
use table::Hosts;

/// Required: the largest fuel per second of CPU time of a kernel over the smallest.
const MOST_SPREAD: f64 = 3.0;
/// In the name of a guest whose calls move [`LONG_BYTES`] each.
const LONG: &str = " by 64 KiB";
const LONG_BYTES: f64 = 65_536.0;

/// Options of the fit.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder of the built guests.
    #[arg(long)]
    guests: PathBuf,
    /// Measure the table in use instead of fitting another.
    #[arg(long)]
    check: bool,
    /// Where the fitted weights go.
    #[arg(long, required_unless_present = "check")]
    out: Option<PathBuf>,
    /// Times that every guest is run.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Picoseconds of a unit of fuel.
    #[arg(long, default_value_t = 25.0)]
    unit: f64,
}

/// Fits and writes the weights, or checks those in use; prints the line and fails when a required
/// figure is missed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let report = with_stack(|| if options.check { check(options) } else { fit(options) })??;
    println(&report);
    judge(&report)
}

fn check(options: &Options) -> anyhow::Result<Value> {
    let bench = Bench::new()?;
    let maker = |costs| Maker { bench: &bench, costs, counter: None };
    let mut before = maker(CostTable::v1()).kernels(&options.guests)?;
    measure(&mut before, 1)?;
    let now = maker(profile().costs);
    let mut guests = now.kernels(&options.guests)?;
    guests.extend(now.micros()?);
    measure(&mut guests, options.rounds)?;
    let unit_rate = |(before, now): (&Guest, &Guest)| before.fuel / now.seconds();
    let spread_before = spread(before.iter().zip(&guests).map(unit_rate));
    let kernels = guests.iter().filter(|guest| guest.role == Role::Kernel);
    let rates: Vec<f64> = kernels.map(|guest| guest.fuel / guest.seconds()).collect();
    let typical = geometric_mean(rates.iter().copied());
    list(&guests, |guest| guest.rate(typical));
    let spreads = [spread_before, spread(rates.into_iter())];
    Ok(figures(&guests, spreads, |guest| guest.rate(typical)))
}

fn fit(options: &Options) -> anyhow::Result<Value> {
    let counter = Counter::new();
    let bench = Bench::new()?;
    let maker = Maker { bench: &bench, costs: profile().costs, counter: Some(&counter) };
    eprintln!("counting what the kernels do");
    let mut guests = maker.kernels(&options.guests)?;
    eprintln!("counting what the micro-kernels do");
    guests.extend(maker.micros()?);
    measure(&mut guests, options.rounds)?;
    let unit = options.unit * 1e-12;
    // What host functions cost does not depend on the operators: it is paid by the call.
    let (hosts, guests): (Vec<_>, Vec<_>) = guests.into_iter().partition(|g| g.host.is_some());
    let held = guests.iter().filter(|guest| guest.excused.is_none());
    let samples: Vec<Sample> = held.map(Guest::sample).collect();
    let weights = solve::fit(&samples, &least(), unit);
    list(&guests, |guest| guest.sample().rate(&weights, unit));
    list_weights(&weights);
    if let Some(out) = &options.out {
        std::fs::write(out, table::source(&weights, prices(&hosts, unit)))?;
    }
    let kernels = || guests.iter().filter(|guest| guest.role == Role::Kernel).map(Guest::sample);
    let spreads = [least(), weights.clone()]
        .map(|weights| spread(kernels().map(|kernel| kernel.rate(&weights, unit))));
    Ok(figures(&guests, spreads, |guest| guest.sample().rate(&weights, unit)))
}

fn figures(guests: &[Guest], spreads: [f64; 2], rate: impl Fn(&Guest) -> f64) -> Value {
    let [before, after] = spreads.map(rounded);
    let harm = |role| worst(guests, role, &rate);
    let (busy, waiting) = (harm(Role::Busy), harm(Role::Waiting));
    let paid = |worst: Option<(&Guest, f64)>| rounded(worst.map_or(0.0, |(_, rate)| rate));
    let by = |worst: Option<(&Guest, f64)>| worst.map_or(String::new(), |(g, _)| g.name.clone());
    json!({
        "bench": "fit-costs",
        "spread_before": before,
        "spread_after": after,
        "least_paid": paid(busy),
        "least_paid_by": by(busy),
        "least_paid_waiting": paid(waiting),
        "least_paid_waiting_by": by(waiting),
    })
}

/// What calls of host functions cost: the dearest of the short ones for all, and the bytes.
fn prices(hosts: &[Guest], unit: f64) -> Hosts {
    let per_call = |host: &Guest| host.seconds() / host.turns / unit;
    let long = |host: &&Guest| host.name.contains(LONG);
    let base = hosts.iter().filter(|host| !long(host)).map(per_call).fold(0.0, f64::max);
    let byte = |name: &str| {
        let host = hosts.iter().filter(long).find(|host| host.host == Some(name));
        whole(host.map_or(0.0, |host| (per_call(host) - base).max(0.0) / LONG_BYTES))
    };
    hosts.iter().for_each(|host| eprintln!("{:8.0} {}", per_call(host), host.name));
    Hosts { base: whole(base), copied: byte("fd_write"), random: byte("random_get") }
}

/// The next whole number of units, at least 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is cut to fit")]
fn whole(units: f64) -> u32 {
    units.ceil().clamp(1.0, f64::from(tallymill_meter::MAX_WEIGHT)) as u32
}

/// What every part weighs at least; as it happens, also what it weighs in version 1.
fn least() -> Vec<u32> {
    parts().into_iter().map(|part| u32::from(part != Part::Unit(Unit::MemoryGrow))).collect()
}

/// Tells the rate of every guest, the worst first, and why it is excused if it is.
fn list(guests: &[Guest], rate: impl Fn(&Guest) -> f64) {
    let mut rated: Vec<(f64, &Guest)> = guests.iter().map(|guest| (rate(guest), guest)).collect();
    rated.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    eprintln!("pays    ns a turn  guest");
    for (rate, guest) in rated {
        let nanoseconds = guest.seconds() * 1e9 / guest.turns;
        let excuse = guest.excused.map_or(String::new(), |why| format!(" ({why})"));
        eprintln!("{rate:5.2} {nanoseconds:12.2}  {}{excuse}", guest.name);
    }
}

fn list_weights(weights: &[u32]) {
    for (part, weight) in parts().into_iter().zip(weights) {
        eprintln!("{weight:8} {part:?}");
    }
}

/// An error that names every required figure that is missed.
fn judge(report: &Value) -> anyhow::Result<()> {
    let figure = |name: &str| report[name].as_f64();
    let spread = figure("spread_after").unwrap_or(f64::INFINITY);
    let paid = figure("least_paid").unwrap_or(0.0);
    let mut missed = Vec::new();
    if spread > MOST_SPREAD {
        missed.push(format!("spread_after is {spread}, required is at most {MOST_SPREAD}"));
    }
    if paid < HARM {
        let by = &report["least_paid_by"];
        missed.push(format!("{by} pays {paid} of its time, required is at least {HARM}"));
    }
    if missed.is_empty() { Ok(()) } else { bail!("{}", missed.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missed_figure_is_named() {
        let figures = |spread, paid| json!({"spread_after": spread, "least_paid": paid, "least_paid_by": "x"});
        assert!(judge(&figures(3.0, 0.5)).is_ok());
        let error = judge(&figures(3.1, 0.4)).unwrap_err().to_string();
        assert_eq!(
            error,
            "spread_after is 3.1, required is at most 3; \"x\" pays 0.4 of its time, required is at least 0.5"
        );
        assert!(judge(&json!({})).is_err());
    }
}
