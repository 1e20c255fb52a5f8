//! `cargo xtask guests`: builds the example jobs into `target/guests`.
//!
//! Afterwards `target/guests/NAME.wasm` is the module, `target/guests/inputs/NAME/inputs.jsonl`
//! one task's standard input per line and `target/guests/inputs/NAME/files/` the named inputs.
//! A module's digest is its identity and its fuel is money, so the build must not depend on where
//! the checkout lies: host paths are mapped away and the lock file is binding.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::{repo, setup};

/// Version of PyPI's `ziglang`, which brings a C compiler with a WASI library.
const ZIGLANG: &str = "ziglang==0.17.1";

/// Guests written in Rust: packages of the workspace in `examples`.
const RUST_GUESTS: [&str; 5] = ["mersenne", "align", "seti", "kernels", "lehmer"];

/// Options of `cargo xtask guests`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Build the C example too; fetches PyPI's `ziglang` (100 MB) into target/ziglang.
    #[arg(long)]
    c: bool,
}

/// Builds the guests a command line asks for.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    build()?;
    if options.c {
        build_c()?;
    }
    Ok(())
}

/// The folder of built modules.
pub(crate) fn folder() -> PathBuf {
    repo::target().join("guests")
}

/// Builds the Rust guests and writes their inputs.
pub(crate) fn build() -> anyhow::Result<()> {
    build_only(&RUST_GUESTS)?;
    let inputs = folder().join("inputs");
    example_inputs::write_all(&inputs)
        .with_context(|| format!("failed to write inputs below {}", inputs.display()))
}

/// Builds some of the Rust guests, without their inputs.
pub(crate) fn build_only(names: &[&str]) -> anyhow::Result<()> {
    setup::run()?;
    let mut cargo = repo::guest_cargo("build");
    cargo.args(["--release", "--target", setup::GUEST_TARGET]);
    cargo.args(names.iter().flat_map(|name| ["--package", name]));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", encoded_flags(&path_mappings()));
    repo::run(&mut cargo)?;
    let built = repo::target().join("guest-build").join(setup::GUEST_TARGET).join("release");
    names.iter().try_for_each(|name| publish(&built.join(name).with_extension("wasm"), name))
}

/// Builds the C guest with PyPI's `ziglang` in a virtual environment below `target`.
pub(crate) fn build_c() -> anyhow::Result<()> {
    let python = ziglang_python()?;
    let folder = repo::target().join("guest-build");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("failed to make {}", folder.display()))?;
    let built = folder.join("c-stdio.wasm");
    let mut zig = repo::command(python);
    zig.args(["-m", "ziglang", "cc", "--target=wasm32-wasi", "-O2", "-s", "-Wall", "-Werror"]);
    zig.arg("-o").arg(&built).arg("examples/c-stdio/main.c");
    repo::run(&mut zig)?;
    publish(&built, "c-stdio")
}

fn ziglang_python() -> anyhow::Result<PathBuf> {
    let venv = repo::target().join("ziglang");
    let python = venv.join("bin/python");
    let present = python.is_file()
        && repo::output(repo::command(&python).args(["-m", "ziglang", "version"])).is_ok();
    if !present {
        repo::run(repo::command("python3").args(["-m", "venv"]).arg(&venv))
            .context("the C example needs Python 3 with its venv module")?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ZIGLANG];
        repo::run(repo::command(&python).args(pip))
            .context("the C example needs PyPI's ziglang, which brings its compiler")?;
    }
    Ok(python)
}

/// Copies a built module to its final place by rename, so that no reader sees half of it.
fn publish(built: &Path, name: &str) -> anyhow::Result<()> {
    let place = folder().join(name).with_extension("wasm");
    let half = place.with_extension("wasm.tmp");
    std::fs::create_dir_all(folder())
        .and_then(|()| std::fs::copy(built, &half))
        .and_then(|_| std::fs::rename(&half, &place))
        .with_context(|| format!("failed to publish {} as {}", built.display(), place.display()))
}

fn path_mappings() -> Vec<(PathBuf, &'static str)> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo_home =
        std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    vec![(cargo_home, "/cargo"), (repo::root().to_owned(), "/tallymill")]
}

/// Flags in cargo's own encoding, which separates by 0x1f and so allows spaces in paths.
fn encoded_flags(mappings: &[(PathBuf, &str)]) -> String {
    let flag =
        |(from, to): &(PathBuf, &str)| format!("--remap-path-prefix={}={to}", from.display());
    mappings.iter().map(flag).collect::<Vec<_>>().join("\x1f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_keep_paths_with_spaces_in_one_piece() {
        let flags = encoded_flags(&[("/a b".into(), "/x"), ("/c".into(), "/y")]);
        assert_eq!(flags, "--remap-path-prefix=/a b=/x\x1f--remap-path-prefix=/c=/y");
    }

    #[test]
    fn every_guest_has_inputs_and_an_expectation() {
        let examples = example_inputs::all().into_iter().chain(example_inputs::long());
        let examples: Vec<_> = examples.map(|example| example.name).collect();
        assert_eq!(examples, RUST_GUESTS);
        for name in RUST_GUESTS {
            let expected = repo::root().join("examples").join(name).join("expected.json");
            let text = std::fs::read_to_string(expected).unwrap();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(json["outputs_blake3"].is_string(), "{name}");
        }
    }
}
