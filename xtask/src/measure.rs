//! Measurements of CPU time: builds the guests and the measuring program for release, and runs it.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::{guests, repo};

/// Where the fitted weights stand.
const WEIGHTS: &str = "meter/src/cost/fitted.rs";

/// Options of `cargo xtask bench meter`.
#[derive(clap::Args)]
pub(crate) struct Meter {
    /// Rounds; each runs every kernel metered, plain, guarded by the engine, and native.
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Only kernels whose name has this in it; nothing is required of the figures then.
    #[arg(long, default_value = "")]
    only: String,
}

/// Options of `cargo xtask fit-costs`.
#[derive(clap::Args)]
pub(crate) struct FitCosts {
    /// Measure the table in use, and fail if it is too far from time, instead of fitting another.
    #[arg(long)]
    check: bool,
    /// A file with what was measured: read if it is there, written if not.
    #[arg(long)]
    measured: Option<PathBuf>,
    /// Times that every guest is run.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
}

/// What metering costs; one JSON line.
pub(crate) fn meter(options: &Meter) -> anyhow::Result<()> {
    run(["meter", "--rounds", &options.rounds.to_string(), "--only", &options.only])
}

/// Fits the weights of operators, or checks them; one JSON line.
pub(crate) fn fit_costs(options: &FitCosts) -> anyhow::Result<()> {
    let rounds = options.rounds.to_string();
    if options.check {
        return run(["fit-costs", "--rounds", &rounds, "--check"]);
    }
    let out = repo::root().join(WEIGHTS);
    let mut arguments: Vec<&OsStr> =
        ["fit-costs", "--rounds", &rounds, "--out"].map(OsStr::new).to_vec();
    arguments.push(out.as_os_str());
    if let Some(file) = &options.measured {
        arguments.extend([OsStr::new("--measured"), file.as_os_str()]);
    }
    run(arguments)?;
    repo::run(repo::command("rustfmt").args(["--edition", "2024"]).arg(out))
}

fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> anyhow::Result<()> {
    guests::build_only(&["kernels"])?;
    let mut cargo = repo::cargo();
    cargo.args(["run", "--quiet", "--locked", "--release", "--package", "tallymill-benches", "--"]);
    repo::run(cargo.args(arguments).arg("--guests").arg(guests::folder()))
}
