//! `cargo xtask otel`: what the feature `otel` adds, built, linted and tested against a collector of the test's own.
//!
//! It is no part of `cargo xtask test`: with the feature the program and what it is built of are built once more.

use crate::{repo, test};

/// Each test binary of the feature, with the package that it is in.
const TESTS: [[&str; 4]; 2] = [
    ["tallymill-coordinator", "--lib", "--", "trace::"],
    ["tallymill-cli", "--test", "otel", "--"],
];

/// Runs both.
pub(crate) fn run() -> anyhow::Result<()> {
    for [package, rest @ ..] in TESTS {
        let mut cargo = repo::cargo();
        cargo.args(["test", "--locked", "--features", "otel", "--package", package]).args(rest);
        repo::run(&mut test::linted(cargo))?;
    }
    Ok(())
}
