//! `portable`: compares engines over a corpus and prints one JSON line; `cargo xtask portable` starts it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use tallymill_portable::{Campaign, Found, Report, families, serve};

/// Compare what engines make of the same metered modules.
#[derive(Parser)]
struct Options {
    /// Modules to compare.
    #[arg(long, default_value_t = 2_000)]
    modules: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads, each with engines of its own.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Where modules that differ are put.
    #[arg(long, default_value = "target/portable")]
    folder: PathBuf,
    /// A file to write the result to as well.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Compare modules of this family only.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(families()))]
    family: Option<String>,
    /// Differences after which to stop.
    #[arg(long, default_value_t = 1)]
    stop_at: u64,
    /// A command that runs this program as it was built for another processor: one more engine.
    #[arg(long)]
    emulated: Option<String>,
    /// Run tasks for another such program, one line of JSON each.
    #[arg(long)]
    serve: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<bool> {
    if options.serve {
        serve()?;
        return Ok(true);
    }
    let Options { modules, seed, threads, stop_at, .. } = *options;
    let (emulated, family) = (options.emulated.clone(), options.family.clone());
    let report = Campaign { modules, seed, threads, emulated, family, stop_at }
        .run(|done| note(&format!("{done} modules")))?;
    for found in &report.found {
        show(found, options)?;
    }
    let line = line(options, &report);
    if let Some(file) = &options.record {
        std::fs::write(file, format!("{line:#}\n"))?;
    }
    writeln!(std::io::stdout(), "{line}")?;
    Ok(report.found.is_empty())
}

fn line(options: &Options, report: &Report) -> serde_json::Value {
    json!({
        "bench": "portable",
        "modules": report.tally.modules,
        "engines": report.engines,
        "differences": report.found.len(),
        "first_seed": options.seed,
        "seeds": report.tally.seeds,
        "families": report.tally.families,
        "outcomes": report.tally.outcomes,
    })
}

fn show(found: &Found, options: &Options) -> anyhow::Result<()> {
    let [guest, metered] = found.save(&options.folder)?;
    note(&format!(
        "seed {} ({}) differs: {} and {}",
        found.seed,
        found.family,
        guest.display(),
        metered.display()
    ));
    for (engine, answer) in found.difference.engines.iter().zip(found.difference.answers.iter()) {
        note(&format!("{engine}: {answer:?}"));
    }
    note(&format!("again: cargo xtask portable --modules 1 --seed {}", found.seed));
    Ok(())
}

fn note(text: &str) {
    let _closed = writeln!(std::io::stderr(), "{text}");
}
