//! `cargo xtask portable`: the same metered modules on every engine, compared.
//!
//! The work is done by the crate in `tests/portable`, built with optimisation; this command sees to node and passes
//! its options on. The program's line and exit code are this command's.

use std::path::PathBuf;

use crate::{node, repo};

/// Options of `cargo xtask portable`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Modules to compare.
    #[arg(long, default_value_t = 2_000)]
    modules: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads, each with engines of its own.
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Compare modules of this family only.
    #[arg(long)]
    family: Option<String>,
    /// A file to write the result to as well.
    #[arg(long)]
    record: Option<PathBuf>,
}

/// Compares; an error when two engines differ.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    node::ensure()?;
    let mut cargo = repo::cargo();
    cargo.args([
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "tallymill-portable",
        "--",
    ]);
    cargo.arg("--modules").arg(options.modules.to_string());
    cargo.arg("--seed").arg(options.seed.to_string());
    cargo.arg("--threads").arg(options.threads.to_string());
    cargo.arg("--folder").arg(repo::target().join("portable"));
    if let Some(family) = &options.family {
        cargo.arg("--family").arg(family);
    }
    if let Some(file) = &options.record {
        cargo.arg("--record").arg(file);
    }
    repo::run(&mut cargo)
}
