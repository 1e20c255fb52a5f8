//! The tallymill binary: one name, nouns then verbs.
//!
//! Exit codes: 0 ok, 1 failed, 2 usage, 3 not verified, 4 coordinator unreachable, 5 not enough credit, 130 interrupted.

mod args;
mod fault;
mod notify;
mod settings;
#[cfg(feature = "otel")]
mod traces;
mod ui;
mod verb;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use tokio::signal::unix::{SignalKind, signal};

use args::{Cli, Verb};

fn main() -> ExitCode {
    // Children that run or compile guests never get further than this: they hold no keys and parse no options.
    if let Some(code) = tallymill_sandbox::child_main(std::env::args_os().skip(1)) {
        return code;
    }
    let read = Cli::command().try_get_matches();
    let read = read.and_then(|typed| Cli::from_arg_matches(&typed).map(|cli| (cli, typed)));
    let (cli, typed) = match read {
        Ok(read) => read,
        Err(e) => return ui::misread(&e.format(&mut Cli::command()), std::env::args_os()),
    };
    let _log = ui::log_to_stderr(cli.common.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            return ui::fail(&anyhow::Error::new(e).context("failed to start"), cli.common.json);
        }
    };
    let json = cli.common.json;
    match runtime.block_on(run(cli, &typed)) {
        Ok(code) => code,
        Err(e) => ui::fail(&e, json),
    }
}

/// A file that may not grow any more is then an error like a full disk, and not the end of the process: who listens for a
/// signal does not die of it.
fn outlive_file_limits() {
    let exceeded = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    if let Err(error) = signal(exceeded) {
        tracing::warn!("limits of file sizes end this process without a word: {error}");
    }
}

async fn run(cli: Cli, typed: &ArgMatches) -> anyhow::Result<ExitCode> {
    outlive_file_limits();
    let common = cli.common;
    match cli.verb {
        Verb::Dev(args) => verb::dev::run(&common, args).await,
        Verb::Open => verb::open::run(&common).await,
        Verb::Coordinator(args) => verb::coordinator::run(&common, args).await,
        Verb::Worker(args) => verb::worker::run(&common, args).await,
        Verb::Run(args) => verb::run::run(&common, &args),
        Verb::Quote(args) => verb::submit::quote(&common, args).await,
        Verb::Submit(args) => verb::submit::submit(&common, args).await,
        Verb::Job(verb) => verb::job::run(&common, verb).await,
        Verb::Credit(verb) => verb::credit::run(&common, verb).await,
        Verb::Verify(args) => verb::verify::run(&common, &args).await,
        Verb::Admin(verb) => verb::admin::run(&common, verb).await,
        Verb::Key(verb) => verb::key::run(&common, verb).await,
        Verb::Config(verb) => verb::config::run(&common, verb, innermost(typed)),
        Verb::Completions { shell } => verb::help::completions(&common, shell),
        Verb::Man { folder } => verb::help::man(&common, &folder),
    }
}

/// What was typed of the verb that was named last.
fn innermost(typed: &ArgMatches) -> &ArgMatches {
    typed.subcommand().map_or(typed, |(_, typed)| innermost(typed))
}
