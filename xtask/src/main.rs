//! Build, test, demo, bench and check commands of this repository: `cargo xtask COMMAND`.
//!
//! Each command has a module of its own; this file only picks one.

mod bench;
mod cpu;
mod crash;
mod database;
mod demo;
mod deny;
mod fuzz;
mod guests;
mod hostile;
mod load;
mod measure;
mod network;
mod node;
mod otel;
mod package;
mod portable;
mod powercut;
mod recount;
mod repo;
mod say;
mod schemathesis;
mod service;
mod setup;
mod stats;
mod swarm;
mod takeover;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, test and check Tallymill.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what builds need: the compiler's target for guest programs.
    Setup,
    /// Build the example jobs into target/guests, with their inputs.
    Guests(guests::Options),
    /// Check house style: sizes, documentation, layering, files.
    Tidy,
    /// Set up, check and test everything; the last line says how many tests ran.
    Test,
    /// Let schemathesis try the API by its own document, as `test` does.
    Schemathesis,
    /// Run a small network on real jobs and check everything it claims.
    Demo,
    /// Measure this machine; one JSON line.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Fit the weights of the cost table to time on this machine, or check them; one JSON line.
    FitCosts(measure::FitCosts),
    /// Feed invented bytes to what reads bytes of others, until something breaks or the time is over.
    Fuzz(fuzz::Options),
    /// Check licences, sources and known holes of what we depend on, with cargo-deny.
    Deny,
    /// Kill the coordinator under load and count what was lost or paid twice; one JSON line.
    Crash(crash::Options),
    /// Interrupt the one of three coordinators that serves, under load, and check that nothing is lost or paid twice.
    Takeover(takeover::Options),
    /// Cut the power in the middle of the database's commits and count what was lost; one JSON line.
    Powercut(powercut::Options),
    /// What `powercut` cuts the power of.
    #[command(hide = true)]
    PowercutWriter(powercut::Writer),
    /// Send guests that mean harm through a network, and measure what they cost; one JSON line.
    Hostile,
    /// Build, lint and test the program with its feature `otel`.
    Otel,
    /// Make a Debian package, unpack it and check it; one JSON line.
    Package,
    /// Run the same metered modules on every engine and compare; one JSON line.
    Portable(portable::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup => setup::run(),
        Command::Guests(options) => guests::run(&options),
        Command::Tidy => tidy::run(),
        Command::Test => test::run(),
        Command::Schemathesis => test::schemathesis(),
        Command::Demo => demo::run(),
        Command::Bench(bench) => bench::run(&bench),
        Command::FitCosts(options) => measure::fit_costs(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Deny => deny::run(),
        Command::Crash(options) => crash::run(&options),
        Command::Takeover(options) => takeover::run(&options),
        Command::Powercut(options) => powercut::run(&options),
        Command::PowercutWriter(writer) => writer.run(),
        Command::Hostile => hostile::run(),
        Command::Otel => otel::run(),
        Command::Package => package::run(),
        Command::Portable(options) => portable::run(&options),
    };
    // Without the backtrace that returning the error would print: these errors are for people.
    result.map_or_else(repo::failed, |()| ExitCode::SUCCESS)
}
