//! The JavaScript host: node, which its tests need, and the tests themselves.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::repo;

/// The oldest node whose engine has all of the profile and whose test runner has the options used here.
const OLDEST: u32 = 18;

/// Installs node unless it is there.
pub(crate) fn ensure() -> anyhow::Result<()> {
    if version().is_ok_and(|version| version >= OLDEST) {
        return Ok(());
    }
    repo::install("nodejs")
        .with_context(|| format!("the JavaScript host needs node {OLDEST} or later"))?;
    let version = version()?;
    ensure!(version >= OLDEST, "node {version} is too old: {OLDEST} or later is needed");
    Ok(())
}

fn version() -> anyhow::Result<u32> {
    parse(&repo::output(repo::command("node").arg("--version"))?)
}

fn parse(text: &str) -> anyhow::Result<u32> {
    let major = text.trim().strip_prefix('v').and_then(|text| text.split('.').next());
    major
        .and_then(|major| major.parse().ok())
        .with_context(|| format!("node has the version {text:?}"))
}

/// The command that runs the tests of `sdk/js`.
pub(crate) fn tests() -> anyhow::Result<Command> {
    let mut node = repo::command("node");
    node.args(["--test", "--test-reporter=tap"]).args(files(&repo::root().join("sdk/js/test"))?);
    Ok(node)
}

/// Files of tests; named one by one, since what node makes of a folder differs by version.
fn files(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path().display().to_string();
        if path.ends_with(".test.js") {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "no tests in {}", folder.display());
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse("v20.20.2\n").unwrap(), 20);
        assert!(parse("20").is_err() && parse("vx.1").is_err());
    }

    #[test]
    fn tests_are_found_and_an_empty_folder_is_an_error() {
        let found = files(&repo::root().join("sdk/js/test")).unwrap();
        assert!(found.iter().any(|path| path.ends_with("blake3.test.js")), "{found:?}");
        assert!(files(&repo::root().join("sdk/js/src")).is_err());
    }
}
