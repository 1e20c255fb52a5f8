//! schemathesis: calls of every kind that the API's own document allows, and of kinds that it does not, at a coordinator with a
//! finished job. No answer may be a 5xx, differ from the document, or take what the document forbids.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use tallymill_sdk::{Client, KeyFile};

use crate::network::{self, Network};
use crate::swarm::Place;
use crate::test::Tally;
use crate::{load, repo};

/// Oldest python that it runs on.
const OLDEST: (u32, u32) = (3, 10);
/// Tasks of the job that is there.
const TASKS: u32 = 3;

fn venv() -> PathBuf {
    repo::target().join("schemathesis")
}

fn ours(name: &str) -> PathBuf {
    repo::root().join("xtask/schemathesis").join(name)
}

/// Installs it and all that it needs, in the versions that are written down, unless they are there.
pub(crate) fn ensure() -> anyhow::Result<()> {
    let wanted = std::fs::read_to_string(ours("requirements.txt"))?;
    let installed = venv().join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    python()?;
    let mut make = repo::command("python3");
    make.args(["-m", "venv", "--clear"]).arg(venv());
    if repo::output(&mut make).is_err() {
        // Debian's python can make none by itself.
        repo::install("python3-venv")?;
        repo::run(&mut make)?;
    }
    let mut pip = repo::command(venv().join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    repo::run(pip.arg("--requirement").arg(ours("requirements.txt")))
        .context("schemathesis comes from pypi.org: is it reachable?")?;
    Ok(std::fs::write(installed, wanted)?)
}

fn python() -> anyhow::Result<()> {
    let version = || parse(&repo::output(repo::command("python3").arg("--version"))?);
    if version().is_ok_and(|version| version >= OLDEST) {
        return Ok(());
    }
    repo::install("python3")?;
    let (major, minor) = version()?;
    ensure!((major, minor) >= OLDEST, "python {major}.{minor} is too old: 3.10 or later is needed");
    Ok(())
}

fn parse(text: &str) -> anyhow::Result<(u32, u32)> {
    let mut parts = text.trim().trim_start_matches("Python ").split('.');
    let mut next = || parts.next().and_then(|part| part.parse().ok());
    next().zip(next()).with_context(|| format!("python3 has the version {text:?}"))
}

/// Lets it loose on a coordinator of its own; each operation counts as a test.
pub(crate) fn run(tally: &mut Tally) -> anyhow::Result<()> {
    let folder = network::folder("schemathesis")?;
    let mut network = Network::start(&network::build(false)?, folder.path())?;
    let tokens = tokio::runtime::Runtime::new()?.block_on(prepare(&mut network))?;
    let report = folder.path().join("report.xml");
    let mut command = command(&network.url(), tokens);
    command.current_dir(folder.path()).args(["--report", "junit", "--report-junit-path"]);
    let ended = repo::run(command.arg(&report));
    let counts = std::fs::read_to_string(&report).context("schemathesis wrote no report")?;
    count(&counts, tally)?;
    network.check()?;
    ended
}

/// A job that is finished, and tokens of the operator who paid for it and of a host.
async fn prepare(network: &mut Network) -> anyhow::Result<[String; 2]> {
    let key = KeyFile::load(&network.operator_key())?;
    let client = Client::connect(&network.url(), key).await?;
    client.grant(client.account(), 100_000_000).await?;
    for name in ["one", "two"] {
        network.join(name, 1)?;
    }
    let job = client.submit(&load::job(TASKS)?.quorum(2)).await?;
    let mut results = job.results();
    while results.next().await?.is_some() {}
    let place = Place::find(&network.url()).await?;
    let key = KeyFile::load(&network.operator_key())?;
    let operator = place.login(key.pair(), "api").await?;
    let host = network.volunteers.first().context("nobody joined")?.host_key();
    let host = place.login(KeyFile::load(&host)?.pair(), "worker").await?;
    Ok([operator, host])
}

fn command(url: &str, [operator, host]: [String; 2]) -> Command {
    let mut command = repo::command(venv().join("bin/schemathesis"));
    command.arg("--config-file").arg(ours("config.toml"));
    command.arg("run").arg(format!("{url}/api/v1/openapi.json"));
    command.args(["--no-color", "--continue-on-failure"]);
    command.env("SCHEMATHESIS_HOOKS", ours("hooks.py"));
    // Not on the command line, which everybody on this machine reads.
    command.env("TALLYMILL_TEST_OPERATOR", operator).env("TALLYMILL_TEST_HOST", host);
    command
}

/// Adds what stands at the head of a report in JUnit's format.
fn count(report: &str, tally: &mut Tally) -> anyhow::Result<()> {
    let head = report.split_once("<testsuites ").and_then(|(_, rest)| rest.split_once('>'));
    let (head, _) = head.context("the report of schemathesis is not JUnit's")?;
    let number = |name: &str| -> anyhow::Result<u64> {
        let value = head.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
        let value = value.and_then(|rest| rest.split_once('"')?.0.parse().ok());
        value.with_context(|| format!("the report of schemathesis has no {name}: {head}"))
    };
    let failed = number("failures")? + number("errors")?;
    let (tests, skipped) = (number("tests")?, number("skipped")?);
    if tests <= skipped {
        bail!("schemathesis tried nothing: {head}");
    }
    tally.add_counts(tests.saturating_sub(failed + skipped), failed, skipped);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse("Python 3.11.2\n").unwrap(), (3, 11));
        assert!(parse("Python 3").is_err() && parse("").is_err());
    }

    #[test]
    fn a_report_counts_and_one_of_nothing_is_an_error() {
        let mut tally = Tally::default();
        let head = |tests| {
            format!(
                r#"<testsuites errors="1" failures="2" skipped="3" tests="{tests}" time="1"><x/>"#
            )
        };
        count(&head(42), &mut tally).unwrap();
        assert_eq!(tally.line(), "36 passed, 3 failed, 3 skipped");
        assert!(count(&head(3), &mut tally).is_err());
        assert!(count("<html>", &mut tally).is_err());
    }
}
