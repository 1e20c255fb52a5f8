//! Measurements of CPU time, one JSON line each: `cargo xtask` builds this program for release and
//! runs it.
//!
//! All times are CPU time of one thread, and all figures are ratios within one run: the clock on
//! the wall and the speed of the machine do not matter much then, though other work that shares its
//! caches still does.

mod clock;
mod fit;
mod guest;
mod meter;
mod stats;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measure CPU time.
#[derive(Parser)]
#[command(bin_name = "tallymill-benches")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What metering costs, against the plain engine, the engine's own fuel, and native code.
    Meter(meter::Options),
    /// Weights of operators that come close to time, and how close those in use are.
    FitCosts(fit::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Meter(options) => meter::run(&options),
        Command::FitCosts(options) => fit::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the one line that scripts read")]
fn println(report: &serde_json::Value) {
    println!("{report}");
}
