//! `cargo xtask package`: a Debian package of the program, its units and its settings, by cargo-deb as `cli/Cargo.toml` says.
//!
//! It is no part of `cargo xtask test`: it builds the program for release, and cargo-deb where that is missing. Tests look
//! whether everything is there that would be packaged.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::{network, repo, say};

/// The version of cargo-deb that the metadata is written for.
const VERSION: &str = "3.8.0";

/// Shells, and the names under which theirs look for completions.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "tallymill"), ("zsh", "_tallymill"), ("fish", "tallymill.fish")];

/// What a package must hold at least.
const HELD: [&str; 9] = [
    "usr/bin/tallymill",
    "usr/lib/systemd/system/tallymill-coordinator.service",
    "usr/lib/systemd/system/tallymill-worker.service",
    "etc/tallymill/coordinator.toml",
    "etc/default/tallymill-worker",
    "usr/share/man/man1/tallymill-coordinator.1.gz",
    "usr/share/bash-completion/completions/tallymill",
    "usr/share/doc/tallymill/copyright",
    "usr/share/doc/tallymill/changelog.Debian.gz",
];

/// Files that an update leaves as their owner changed them.
const CONFFILES: &str = "/etc/tallymill/coordinator.toml\n/etc/default/tallymill-worker\n";

/// Makes the package and checks it.
pub(crate) fn run() -> anyhow::Result<()> {
    let cargo_deb = tool()?;
    let program = network::build(true)?;
    let folder = made();
    generate(&program, &folder)?;
    let package = build(&cargo_deb, &program, &folder)?;
    inspect(&package)?;
    let linted = lint(&package)?;
    let bytes = std::fs::metadata(&package)?.len();
    say::say(json!({ "package": package, "bytes": bytes, "linted": linted }));
    Ok(())
}

/// Where everything is made that is packaged and stands in no source; the metadata names it.
fn made() -> PathBuf {
    repo::root().join("target/package")
}

/// cargo-deb in the build folder, installed there unless it is.
fn tool() -> anyhow::Result<PathBuf> {
    let tools = repo::target().join("tools");
    let program = tools.join("bin/cargo-deb");
    let found = repo::command(&program).arg("--version").output();
    if !found.is_ok_and(|said| is_ours(&String::from_utf8_lossy(&said.stdout))) {
        let mut install = repo::cargo();
        install.args(["install", "cargo-deb", "--version", VERSION, "--locked", "--root"]);
        repo::run(install.arg(tools)).context("cargo-deb is missing and could not be installed")?;
    }
    Ok(program)
}

/// Whether this is what cargo-deb says of the version that is asked for.
fn is_ours(said: &str) -> bool {
    said.trim().strip_prefix("cargo-deb ") == Some(VERSION)
}

/// Man pages, completions and a changelog, out of the program itself.
fn generate(program: &Path, folder: &Path) -> anyhow::Result<()> {
    // Pages of verbs that are gone must not stay.
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let completions = folder.join("completions");
    std::fs::create_dir_all(&completions)?;
    repo::run(repo::command(program).arg("man").arg(folder.join("man")))?;
    for (shell, name) in COMPLETIONS {
        let script = repo::output(repo::command(program).args(["completions", shell]))?;
        std::fs::write(completions.join(name), script)?;
    }
    let said = repo::output(repo::command(program).arg("--version"))?;
    let version = said.trim().strip_prefix("tallymill ").context("the program has no version")?;
    let date = repo::output(repo::command("git").args(["log", "-1", "--format=%aD"]))?;
    std::fs::write(folder.join("changelog"), changelog(version, date.trim()))?;
    Ok(())
}

fn changelog(version: &str, date: &str) -> String {
    format!(
        "tallymill ({version}-1) unstable; urgency=medium\n\n  * What changes is told in the file CHANGELOG.md of the source.\n\n \
         -- Tallymill contributors <packages@tallymill.invalid>  {date}\n"
    )
}

/// Packs the program that was built, and what was made of it.
fn build(cargo_deb: &Path, program: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let built = folder.join("build");
    std::fs::create_dir_all(built.join("release"))?;
    std::fs::copy(program, built.join("release/tallymill"))?;
    let mut pack = repo::command(cargo_deb);
    // Quiet, since it warns of every file that it finds in the build folder.
    pack.args(["--quiet", "--package", "tallymill-cli", "--no-build", "--strip", "--no-dbgsym"]);
    pack.args(["--locked", "--output"]).arg(folder).env("CARGO_TARGET_DIR", &built);
    let said = repo::output(&mut pack)?;
    let path = said.lines().find(|line| line.ends_with(".deb"));
    Ok(path.context("cargo-deb names no package")?.into())
}

/// Unpacks the package, looks what is in it, and starts the program with the settings beside it.
fn inspect(package: &Path) -> anyhow::Result<()> {
    let folder = network::folder("package")?;
    let (tree, control) = (folder.path().join("tree"), folder.path().join("control"));
    repo::run(repo::command("dpkg-deb").arg("-x").arg(package).arg(&tree))?;
    repo::run(repo::command("dpkg-deb").arg("-e").arg(package).arg(&control))?;
    for path in HELD {
        ensure!(tree.join(path).is_file(), "{path} is not in the package");
    }
    let conffiles = std::fs::read_to_string(control.join("conffiles"))?;
    ensure!(conffiles == CONFFILES, "other files are kept at an update: {conffiles}");
    let mut show = repo::command(tree.join("usr/bin/tallymill"));
    show.args(["--json", "config", "show", "--config"]);
    show.arg(tree.join("etc/tallymill/coordinator.toml"));
    network::without_settings(&mut show);
    let shown: Value = serde_json::from_str(&repo::output(&mut show)?)?;
    let settings = shown["coordinator"].as_array().cloned().unwrap_or_default();
    let changed = settings.iter().find(|setting| setting["origin"] != "default");
    ensure!(!settings.is_empty() && changed.is_none(), "it comes with a setting changed: {shown}");
    Ok(())
}

/// Lets lintian look for errors, where it can be had; whether it did.
fn lint(package: &Path) -> anyhow::Result<bool> {
    let lintian = || repo::command("lintian").arg("--version").output();
    if lintian().is_err() && repo::install("lintian").is_err() {
        say::note("lintian cannot be had here: the package is not linted");
        return Ok(false);
    }
    repo::run(repo::command("lintian").args(["--fail-on", "error"]).arg(package))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use cargo_metadata::MetadataCommand;

    use super::*;

    fn metadata() -> Value {
        let mut command = MetadataCommand::new();
        command.manifest_path(repo::root().join("cli/Cargo.toml")).no_deps();
        let metadata = command.exec().unwrap();
        let package = metadata.packages.iter().find(|package| *package.name == "tallymill-cli");
        package.unwrap().metadata["deb"].clone()
    }

    /// Whether a path of the metadata is there, or is made before it is needed.
    fn is_there(path: &str) -> bool {
        let generated = ["changelog", "man/*.1"].map(str::to_owned).into_iter();
        let scripts = COMPLETIONS.iter().map(|(_, name)| format!("completions/{name}"));
        let mut made = generated.chain(scripts).map(|name| format!("../target/package/{name}"));
        path == "target/release/tallymill"
            || made.any(|name| name == path)
            || (!path.starts_with("../target/") && repo::root().join("cli").join(path).exists())
    }

    #[test]
    fn everything_that_is_packaged_is_there() {
        let deb = metadata();
        let mut paths: Vec<String> = Vec::new();
        let mut add = |value: &Value| paths.push(value.as_str().unwrap().to_owned());
        deb["assets"].as_array().unwrap().iter().for_each(|asset| add(&asset[0]));
        ["changelog", "maintainer-scripts"].iter().for_each(|name| add(&deb[*name]));
        add(&deb["license-file"][0]);
        let units = deb["systemd-units"].as_array().unwrap();
        for unit in units {
            let name = |key: &str| unit[key].as_str().unwrap().to_owned();
            paths.push(format!("{}/{}.service", name("unit-scripts"), name("unit-name")));
            assert_eq!((&unit["enable"], &unit["start"]), (&false.into(), &false.into()));
        }
        assert!(paths.len() > 12 && units.len() == 2, "{paths:?}");
        let missing: Vec<_> = paths.iter().filter(|path| !is_there(path)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(!is_there("../packaging/other") && !is_there("../target/package/other"));
    }

    #[test]
    fn another_version_of_the_tool_is_replaced() {
        assert!(is_ours("cargo-deb 3.8.0\n"));
        assert!(!is_ours("cargo-deb 3.8.1\n") && !is_ours(""));
    }

    #[test]
    fn a_changelog_has_the_version_of_the_program() {
        let text = changelog("1.2.3", "Sun, 29 Nov 2026 00:00:00 +0000");
        assert!(text.starts_with("tallymill (1.2.3-1) unstable;"), "{text}");
        assert!(text.ends_with("<packages@tallymill.invalid>  Sun, 29 Nov 2026 00:00:00 +0000\n"));
        assert_eq!(metadata()["maintainer"], "Tallymill contributors <packages@tallymill.invalid>");
    }
}
