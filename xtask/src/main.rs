//! Build, test, demo, bench and check commands of this repository: `cargo xtask COMMAND`.
//!
//! Each command has a module of its own; this file only picks one.

mod guests;
mod repo;
mod setup;
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
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup => setup::run(),
        Command::Guests(options) => guests::run(&options),
        Command::Tidy => tidy::run(),
        Command::Test => test::run(),
    };
    // Without the backtrace that returning the error would print: these errors are for people.
    result.map_or_else(repo::failed, |()| ExitCode::SUCCESS)
}
