//! `cargo xtask fuzz TARGET`: bytes from nowhere for everything that reads what others wrote.
//!
//! The targets are programs in `fuzz/`, a workspace of its own. They are built with a nightly compiler, instrumented as libFuzzer
//! wants it, into `target/fuzz-build`. What is found stays in `target/fuzz/TARGET`, so that the next run goes on from there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{guests, repo};

/// What tells libFuzzer which branches were taken and what was compared.
const INSTRUMENTATION: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// Longest input, bytes: a module of interest is short.
const LONGEST: usize = 64 << 10;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    /// Valid modules through the meter.
    Meter,
    /// Any bytes through the screen for submitted modules.
    Screen,
    /// Any bytes as frames of a child.
    Frames,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Meter => "meter",
            Self::Screen => "screen",
            Self::Frames => "frames",
        }
    }
}

/// Options of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What reads the bytes.
    target: Target,
    /// How long, seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Builds a target and runs it; an error when it found something or cannot be built.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let program = build(options.target)?;
    let found = repo::target().join("fuzz").join(options.target.name());
    std::fs::create_dir_all(&found).context("failed to make the folder of what is found")?;
    if options.target == Target::Screen {
        seed(&found)?;
    }
    repo::run(&mut fuzz(&program, &found, options.seconds)).with_context(|| {
        format!(
            "an input that breaks it is in {}, its name begins with crash, oom or timeout",
            found.display()
        )
    })
}

fn fuzz(program: &Path, found: &Path, seconds: u64) -> Command {
    let mut fuzz = repo::command(program);
    fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={LONGEST}"));
    fuzz.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    // With a trailing slash it is a folder for libFuzzer.
    fuzz.arg(format!("-artifact_prefix={}/", found.display())).arg(found);
    fuzz
}

/// Real modules to start from, if they were built.
fn seed(found: &Path) -> anyhow::Result<()> {
    let Ok(modules) = std::fs::read_dir(guests::folder()) else { return Ok(()) };
    for module in modules {
        let path = module?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let name = path.file_name().unwrap_or_default();
            std::fs::copy(&path, found.join(name)).context("failed to copy a seed")?;
        }
    }
    Ok(())
}

fn build(target: Target) -> anyhow::Result<PathBuf> {
    let host = host()?;
    let folder = repo::target().join("fuzz-build");
    let mut build = nightly("cargo");
    build.args(["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
    build.args(["--bin", target.name(), "--target", &host]);
    if target != Target::Meter {
        build.args(["--features", "sandbox"]);
    }
    build.env("CARGO_TARGET_DIR", &folder).env_remove("RUSTC").env_remove("RUSTDOC");
    build.env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\x1f"));
    repo::run(&mut build)?;
    Ok(folder.join(host).join("release").join(target.name()))
}

/// A tool of the nightly compiler, whatever compiler runs us.
fn nightly(tool: &str) -> Command {
    let mut command = repo::command("rustup");
    command.args(["run", "nightly", tool]);
    command
}

fn host() -> anyhow::Result<String> {
    let said = repo::output(nightly("rustc").arg("-vV"))
        .context("fuzzing needs a nightly compiler: `rustup toolchain install nightly`")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned);
    ensure!(host.is_some(), "rustc does not say for which host it is");
    Ok(host.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_end_and_keep_what_they_find() {
        let command = fuzz(Path::new("/x/meter"), Path::new("/found"), 7);
        let shown = repo::show(&command);
        assert!(shown.starts_with("meter -max_total_time=7 "), "{shown}");
        assert!(shown.ends_with("-artifact_prefix=/found/ /found"), "{shown}");
    }

    #[test]
    fn every_target_is_a_program_of_the_fuzz_workspace() {
        let manifest = std::fs::read_to_string(repo::root().join("fuzz/Cargo.toml")).unwrap();
        for target in [Target::Meter, Target::Screen, Target::Frames] {
            assert!(manifest.contains(&format!("name = \"{}\"", target.name())));
        }
    }
}
