//! Where things are in this repository, and how other programs are started.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};

/// The folder of the root manifest.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The folder of everything that is built, as cargo has it.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Prints an error with its causes.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `Result::map_or_else` wants")]
pub(crate) fn failed(error: anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// A program started in the root folder.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Cargo in the workspace of guest programs, with a build folder of its own: its flags differ,
/// and sharing one would rebuild everything each time the other was used.
pub(crate) fn guest_cargo(subcommand: &str) -> Command {
    let mut cargo = cargo();
    cargo.arg(subcommand).arg("--manifest-path").arg(root().join("examples/Cargo.toml"));
    cargo.arg("--locked").env("CARGO_TARGET_DIR", target().join("guest-build"));
    cargo
}

/// Runs to the end with our standard streams; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("failed to start {shown}"))?;
    ensure!(status.success(), "{shown} ended with {status}");
    Ok(())
}

/// Runs to the end and returns standard output; standard error is ours.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output = command.stderr(std::process::Stdio::inherit());
    let output = output.output().with_context(|| format!("failed to start {shown}"))?;
    ensure!(output.status.success(), "{shown} ended with {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{shown} printed no UTF-8"))
}

/// Installs a package of Debian's or Ubuntu's; an error says what a person can do.
pub(crate) fn install(package: &str) -> anyhow::Result<()> {
    let mut install = command("apt-get");
    install.args(["install", "--yes", "--no-install-recommends", package]);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut install).with_context(|| {
        format!(
            "{package} is missing and could not be installed. As root on Debian or Ubuntu: \
             apt-get update && apt-get install {package}"
        )
    })
}

/// The command as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_without_the_programs_folder() {
        assert_eq!(show(Command::new("/usr/bin/cargo").args(["build", "-q"])), "cargo build -q");
    }

    #[test]
    fn a_failing_program_is_an_error_that_names_it() {
        let error = run(command("false").arg("x")).unwrap_err().to_string();
        assert!(error.starts_with("false x ended with"), "{error}");
        let error = output(&mut command("no-such-program-here")).unwrap_err().to_string();
        assert!(error.contains("failed to start no-such-program-here"), "{error}");
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("xtask/Cargo.toml").is_file());
    }
}
