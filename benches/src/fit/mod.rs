//! Fits the weights of operators to time, and checks those in use.
//!
//! Kernels say what ordinary work costs, micro-kernels what the worst costs. The fit wants every
//! kernel to pay alike for a second, and the others not to pay much less.

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
use measure::{Maker, Measured, measure, spread, worst};
use solve::{Role, Sample};
use table::Hosts;

/// Required: the largest fuel per second of CPU time of a kernel over the smallest.
const MOST_SPREAD: f64 = 3.0;
/// What a guest should pay for its time at least, as a part of what kernels pay on average.
const HALF: f64 = 0.5;
/// Required of one that keeps the machine busy with one thing: a half, less a tenth by which two
/// measurements may differ.
const LEAST_BUSY: f64 = 0.45;
/// Held: what one pays that makes the machine wait. No table gives it a half without kernels further
/// apart than they may be; this keeps it from getting worse.
const LEAST_WAITING: f64 = 0.04;
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
    /// A file with what was measured: read if it is there, written if not.
    #[arg(long)]
    measured: Option<PathBuf>,
    /// Times that every guest is run.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Picoseconds of a unit of fuel.
    #[arg(long, default_value_t = 10.0)]
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
    let before = measure(maker(CostTable::v1()).kernels(&options.guests)?, 1)?;
    let now = maker(profile().costs);
    let mut guests = now.kernels(&options.guests)?;
    guests.extend(now.micros()?);
    let guests = measure(guests, options.rounds)?;
    let unit_rate = |(before, now): (&Measured, &Measured)| before.fuel / now.seconds;
    let spread_before = spread(before.iter().zip(&guests).map(unit_rate));
    let kernels = guests.iter().filter(|guest| guest.role == Role::Kernel);
    let rates: Vec<f64> = kernels.map(|guest| guest.fuel / guest.seconds).collect();
    let typical = geometric_mean(rates.iter().copied());
    list(&guests, |guest| guest.rate(typical));
    let spreads = [spread_before, spread(rates.into_iter())];
    Ok(figures(&guests, spreads, |guest| guest.rate(typical)))
}

/// What was measured before, or what is measured now and kept for the next time.
fn measured(options: &Options) -> anyhow::Result<Vec<Measured>> {
    if let Some(file) = options.measured.as_ref().filter(|file| file.is_file()) {
        return Ok(serde_json::from_slice(&std::fs::read(file)?)?);
    }
    let counter = Counter::new();
    let bench = Bench::new()?;
    let maker = Maker { bench: &bench, costs: profile().costs, counter: Some(&counter) };
    eprintln!("counting what the kernels do");
    let mut guests = maker.kernels(&options.guests)?;
    eprintln!("counting what the micro-kernels do");
    guests.extend(maker.micros()?);
    let measured = measure(guests, options.rounds)?;
    if let Some(file) = &options.measured {
        std::fs::write(file, serde_json::to_vec(&measured)?)?;
    }
    Ok(measured)
}

fn fit(options: &Options) -> anyhow::Result<Value> {
    let guests = measured(options)?;
    let unit = options.unit * 1e-12;
    // What host functions cost does not depend on the operators: it is paid by the call.
    let (hosts, guests): (Vec<_>, Vec<_>) = guests.into_iter().partition(|g| g.host.is_some());
    let held = guests.iter().filter(|guest| guest.excused.is_none());
    let samples: Vec<Sample> = held.map(Measured::sample).collect();
    let weights = with_unmeasured(solve::fit(&samples, unit));
    list_weights(&weights);
    if let Some(out) = &options.out {
        std::fs::write(out, table::source(&weights, prices(&hosts, unit), options.unit))?;
    }
    let rates = |weights: &[u32]| -> Vec<f64> {
        let kernels = guests.iter().filter(|guest| guest.role == Role::Kernel);
        kernels.map(|guest| guest.sample().rate(weights, unit)).collect()
    };
    let spreads = [all_alike(), weights.clone()].map(|weights| spread(rates(&weights).into_iter()));
    let typical = geometric_mean(rates(&weights));
    let rate = |guest: &Measured| guest.sample().rate(&weights, unit) / typical;
    list(&guests, rate);
    Ok(figures(&guests, spreads, rate))
}

fn figures(guests: &[Measured], spreads: [f64; 2], rate: impl Fn(&Measured) -> f64) -> Value {
    let [before, after] = spreads.map(rounded);
    let harm = |role| worst(guests, role, &rate);
    let (busy, waiting) = (harm(Role::Busy), harm(Role::Waiting));
    let paid = |worst: Option<(&Measured, f64)>| rounded(worst.map_or(0.0, |(_, rate)| rate));
    let by = |worst: Option<(&Measured, f64)>| worst.map_or(String::new(), |(g, _)| g.name.clone());
    json!({
        "bench": "fit-costs",
        "spread_before": before,
        "spread_after": after,
        "least_paid": paid(busy),
        "least_paid_by": by(busy),
        "least_paid_waiting": paid(waiting),
        "least_paid_waiting_by": by(waiting),
        "below_half": guests.iter().filter(|guest| rate(guest) < HALF).count(),
        "excused": excused(guests, rate),
    })
}

/// What those guests pay that are known to pay too little and are not held to anything.
fn excused(guests: &[Measured], rate: impl Fn(&Measured) -> f64) -> Value {
    let excused = guests.iter().filter(|guest| guest.excused.is_some());
    excused.map(|guest| (guest.name.clone(), json!(rounded(rate(guest))))).collect()
}

/// What calls of host functions cost: the dearest of the short ones for all, and the bytes.
fn prices(hosts: &[Measured], unit: f64) -> Hosts {
    let per_call = |host: &Measured| host.seconds / host.turns / unit;
    let long = |host: &&Measured| host.name.contains(LONG);
    let base = hosts.iter().filter(|host| !long(host)).map(per_call).fold(0.0, f64::max);
    let byte = |name: &str| {
        let host = hosts.iter().filter(long).find(|host| host.host.as_deref() == Some(name));
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

/// The weights of version 1, which knows no times.
fn all_alike() -> Vec<u32> {
    parts().into_iter().map(|part| u32::from(part != Part::Unit(Unit::MemoryGrow))).collect()
}

/// Units that no guest here uses cost what those cost that are most like them.
fn with_unmeasured(mut weights: Vec<u32>) -> Vec<u32> {
    let of = |unit| parts().iter().position(|part| *part == Part::Unit(unit));
    for (unmeasured, like) in [
        (Unit::MemoryInit, Unit::MemoryCopy),
        (Unit::TableInit, Unit::TableCopy),
        (Unit::TableGrow, Unit::TableFill),
    ] {
        if let (Some(to), Some(from)) = (of(unmeasured), of(like)) {
            weights[to] = weights[from];
        }
    }
    weights
}

/// Tells the rate of every guest, the worst first, and why it is excused if it is.
fn list(guests: &[Measured], rate: impl Fn(&Measured) -> f64) {
    let mut rated: Vec<(f64, &Measured)> =
        guests.iter().map(|guest| (rate(guest), guest)).collect();
    rated.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    eprintln!("pays    ns a turn  guest");
    for (rate, guest) in rated {
        let nanoseconds = guest.seconds * 1e9 / guest.turns;
        let excuse = guest.excused.as_ref().map_or(String::new(), |why| format!(" ({why})"));
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
    let mut missed = Vec::new();
    if spread > MOST_SPREAD {
        missed.push(format!("spread_after is {spread}, required is at most {MOST_SPREAD}"));
    }
    for (name, least) in [("least_paid", LEAST_BUSY), ("least_paid_waiting", LEAST_WAITING)] {
        let paid = figure(name).unwrap_or(0.0);
        if paid < least {
            missed.push(format!("{name} is {paid}, required is at least {least}"));
        }
    }
    if missed.is_empty() { Ok(()) } else { bail!("{}", missed.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missed_figure_is_named() {
        let figures = |spread, busy, waiting| json!({"spread_after": spread, "least_paid": busy, "least_paid_waiting": waiting});
        assert!(judge(&figures(3.0, 0.45, 0.04)).is_ok());
        let error = judge(&figures(3.1, 0.1, 0.04)).unwrap_err().to_string();
        assert_eq!(
            error,
            "spread_after is 3.1, required is at most 3; least_paid is 0.1, required is at least 0.45"
        );
        assert!(judge(&figures(1.0, 1.0, 0.03)).is_err());
        assert!(judge(&json!({})).is_err());
    }
}
