//! `cargo xtask deny`: licences, sources, known holes and duplicates among what we depend on, as `deny.toml` says.
//!
//! It is no part of `cargo xtask test`: the tool takes longer to build than all tests may.

use anyhow::{Context, ensure};

use crate::repo;

/// The version that `deny.toml` is written for.
const VERSION: &str = "0.20.2";

/// Runs cargo-deny; an error that says how to get it when it is not there.
pub(crate) fn run() -> anyhow::Result<()> {
    let found = repo::output(repo::cargo().args(["deny", "--version"]));
    fits(&found.with_context(|| format!("cargo-deny does not run; {}", install()))?)?;
    repo::run(repo::cargo().args(["deny", "--locked", "check"]))
}

fn install() -> String {
    format!("install it with: cargo install cargo-deny --version {VERSION} --locked")
}

/// Whether this is a version that reads our file as it is meant: they differ in what they ask of it.
fn fits(said: &str) -> anyhow::Result<()> {
    let (series, _) = VERSION.rsplit_once('.').unwrap_or((VERSION, ""));
    let fits = said.trim().strip_prefix(&format!("cargo-deny {series}.")).is_some();
    ensure!(fits, "deny.toml is for cargo-deny {series}, this is {}; {}", said.trim(), install());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_refused_with_what_to_install() {
        assert!(fits("cargo-deny 0.20.0\n").is_ok());
        for other in ["cargo-deny 0.2.0", "cargo-deny 0.200.1", "cargo-deny 1.0.0", ""] {
            let error = fits(other).unwrap_err().to_string();
            assert!(error.contains("cargo install cargo-deny --version 0.20.2"), "{error}");
        }
    }
}
