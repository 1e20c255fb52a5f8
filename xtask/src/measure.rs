//! Measurements of CPU time: builds the guests and the measuring program for release, and runs it.

use std::ffi::OsStr;

use crate::{guests, repo};

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

/// What metering costs; one JSON line.
pub(crate) fn meter(options: &Meter) -> anyhow::Result<()> {
    run(["meter", "--rounds", &options.rounds.to_string(), "--only", &options.only])
}

fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> anyhow::Result<()> {
    guests::build_only(&["kernels"])?;
    let mut cargo = repo::cargo();
    cargo.args(["run", "--quiet", "--locked", "--release", "--package", "tallymill-benches", "--"]);
    repo::run(cargo.args(arguments).arg("--guests").arg(guests::folder()))
}
