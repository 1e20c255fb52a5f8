//! `cargo xtask test`: sets up what a fresh machine lacks, then runs every check and every test.
//!
//! A failing step does not stop the later ones. The last line is `N passed, N failed, N skipped`
//! over all tests; a step that fails without a failing test (formatting, a compiler error) counts
//! as one failure, so that the line never looks green when the command is not.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};

use crate::{database, guests, network, node, repo, schemathesis, service, tidy};

/// Sums over the `test result:` lines of the test harness, and the closing lines of node's.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Everything that has run so far.
#[derive(Default)]
struct Session {
    tally: Tally,
    failures: Vec<String>,
}

/// Runs all steps; an error when any of them failed.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut session = Session::default();
    // Mostly downloads and one compiler on one core, so it leaves room for what comes next.
    let c_guest = Aside::start("C guest", guests::build_c);
    session.step("guests", |_| guests::build());
    session.step("node", |_| node::ensure());
    session.step("postgresql", |_| database::ensure());
    session.step("systemd", |_| service::ensure());
    session.step("schemathesis", |_| schemathesis::ensure());
    session.step("format", |_| repo::run(repo::cargo().args(["fmt", "--all", "--check"])));
    session.step("format of examples", |_| repo::run(&mut examples_format()));
    session.step("build and clippy", |_| repo::run(&mut build(workspace())));
    session.step("build and clippy of examples", |_| repo::run(&mut build(examples())));
    session.step("tidy", |_| tidy::run());
    session.join(c_guest);
    session.step("tests", |tally| count(&mut own_tests(), tally));
    session.step("tests of the API by its document", schemathesis::run);
    session.step("tests of examples", |tally| count(&mut examples(), tally));
    session.step("tests of the JavaScript host", |tally| count(&mut node::tests()?, tally));
    session.conclude()
}

/// The step that lets schemathesis try the API, alone.
pub(crate) fn schemathesis() -> anyhow::Result<()> {
    let mut session = Session::default();
    session.step("schemathesis", |_| schemathesis::ensure());
    session.step("tests of the API by its document", schemathesis::run);
    session.conclude()
}

/// A step that runs beside others until it is joined.
struct Aside {
    name: &'static str,
    work: JoinHandle<(anyhow::Result<()>, Duration)>,
}

impl Aside {
    fn start(
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> Self {
        eprintln!("== {name}, beside the next steps");
        let timed = move || {
            let started = Instant::now();
            (work(), started.elapsed())
        };
        Self { name, work: thread::spawn(timed) }
    }
}

impl Session {
    /// Waits for a step that runs aside. Its time is its own, however long it was waited for.
    fn join(&mut self, aside: Aside) {
        let panicked = || (Err(anyhow!("it panicked")), Duration::ZERO);
        let (result, took) = aside.work.join().unwrap_or_else(|_| panicked());
        self.end(aside.name, self.tally.failed, result, took);
    }

    fn step(&mut self, name: &str, work: impl FnOnce(&mut Tally) -> anyhow::Result<()>) {
        eprintln!("== {name}");
        let started = Instant::now();
        let failed_before = self.tally.failed;
        let result = work(&mut self.tally);
        self.end(name, failed_before, result, started.elapsed());
    }

    /// Notes how a step ended; one that fails without a failing test is a failure by itself.
    fn end(&mut self, name: &str, failed_before: u64, result: anyhow::Result<()>, took: Duration) {
        if let Err(error) = result {
            eprintln!("error: {error:#}");
            self.failures.push(name.to_owned());
            if self.tally.failed == failed_before {
                self.tally.failed += 1;
            }
        }
        eprintln!("== {name}: {} s", took.as_secs());
    }

    fn conclude(&self) -> anyhow::Result<()> {
        if !self.failures.is_empty() {
            eprintln!("failed steps: {}", self.failures.join(", "));
        }
        println(&self.tally.line());
        ensure!(self.failures.is_empty() && self.tally.failed == 0, "not everything passed");
        Ok(())
    }
}

impl Tally {
    /// Adds a line of a test harness; any other line changes nothing.
    fn add(&mut self, line: &str) {
        self.add_tap(line);
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        for count in counts.split(['.', ';']) {
            let mut words = count.split_whitespace();
            let number = words.next().and_then(|word| word.parse::<u64>().ok());
            match (number, words.next()) {
                (Some(number), Some("passed")) => self.passed += number,
                (Some(number), Some("failed")) => self.failed += number,
                (Some(number), Some("ignored")) => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Node says `# pass 3`, `# fail 0`, `# skipped 1`.
    fn add_tap(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let ["#", kind, number] = words[..] else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        match kind {
            "pass" => self.passed += number,
            "fail" | "cancelled" => self.failed += number,
            "skipped" | "todo" => self.skipped += number,
            _ => {}
        }
    }

    /// Adds what something else counted.
    pub(crate) fn add_counts(&mut self, passed: u64, failed: u64, skipped: u64) {
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
    }

    /// What the last line says.
    pub(crate) fn line(self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The tests of the root workspace.
fn workspace() -> Command {
    let mut cargo = repo::cargo();
    cargo.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    linted(cargo)
}

/// The same. Cargo builds the program for its own test, with everybody's features; journeys use that one, since building it alone
/// would compile the engine again.
fn own_tests() -> Command {
    let mut cargo = workspace();
    cargo.env(network::FINISHED, repo::target().join("debug/tallymill"));
    // Journeys mostly wait for processes: on as many threads as there are cores, a third of the cores' time is spent idle.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    cargo.env("RUST_TEST_THREADS", (cores + 2).to_string());
    cargo
}

/// The tests of the examples' packages. The guest SDK is linked into their workspace but tested in ours.
fn examples() -> Command {
    let mut cargo = repo::guest_cargo("test");
    cargo.args(["--workspace", "--exclude", "tallymill-guest", "--no-fail-fast"]);
    linted(cargo)
}

/// Everything that the tests need and what is beside them, built and linted, and nothing run.
fn build(mut cargo: Command) -> Command {
    cargo.args(["--all-targets", "--no-run"]);
    cargo
}

/// Lets clippy's driver be the compiler of our own packages: it lints and compiles in one go. `cargo clippy` would check every
/// dependency a second time, for four minutes.
pub(crate) fn linted(mut cargo: Command) -> Command {
    cargo.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
    // How `cargo clippy` passes on what stands behind its `--`.
    cargo.env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    cargo
}

fn examples_format() -> Command {
    let mut cargo = repo::cargo();
    cargo.args(["fmt", "--all", "--check", "--manifest-path", "examples/Cargo.toml"]);
    cargo
}

/// Runs a test command, passing its output on line by line and counting results.
fn count(command: &mut Command, tally: &mut Tally) -> anyhow::Result<()> {
    let shown = repo::show(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {shown}"))?;
    let before = *tally;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.with_context(|| format!("failed to read from {shown}"))?;
            let line = String::from_utf8_lossy(&line);
            tally.add(&line);
            println(&line);
        }
    }
    let status = child.wait().with_context(|| format!("failed to wait for {shown}"))?;
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    ensure!(*tally != before, "{shown} reported no tests at all");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "test output and the closing line belong there")]
fn println(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 7 filtered out; finished in 0.1s";

    fn shell(script: &str) -> Command {
        let mut shell = repo::command("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn results_add_up_and_other_lines_do_not_count() {
        let mut tally = Tally::default();
        for line in [RESULT, "test a ... ok", "99 passed; 99 failed", "", RESULT] {
            tally.add(line);
        }
        tally.add("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(tally, Tally { passed: 25, failed: 2, skipped: 6 });
        assert_eq!(tally.line(), "25 passed, 2 failed, 6 skipped");
    }

    #[test]
    fn closing_lines_of_node_count() {
        let mut tally = Tally::default();
        for line in
            ["# tests 9", "# pass 5", "# fail 2", "# cancelled 1", "# skipped 1", "# pass x"]
        {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 5, failed: 3, skipped: 1 });
    }

    #[test]
    fn a_test_command_is_counted_from_its_output() {
        let mut tally = Tally::default();
        count(&mut shell(&format!("echo '{RESULT}'; echo x")), &mut tally).unwrap();
        assert_eq!(tally.passed, 12);
        let silent = count(&mut shell("echo nothing"), &mut tally).unwrap_err();
        assert!(silent.to_string().contains("no tests at all"));
        let failed =
            count(&mut shell(&format!("echo '{RESULT}'; exit 3")), &mut tally).unwrap_err();
        assert!(failed.to_string().contains("exit status: 3"), "{failed}");
    }

    #[test]
    fn a_failing_step_fails_the_command_even_without_a_failing_test() {
        let mut session = Session::default();
        session.step("good", |tally| {
            tally.add(RESULT);
            Ok(())
        });
        assert!(session.conclude().is_ok());
        session.step("bad", |_| bail!("broken"));
        assert_eq!((session.tally.failed, session.failures.len()), (1, 1));
        assert!(session.conclude().is_err());
    }

    #[test]
    fn a_step_beside_others_counts_as_they_do() {
        let mut session = Session::default();
        let (tell, told) = std::sync::mpsc::channel();
        let waits = Aside::start("waits", move || Ok(told.recv()?));
        session.step("meanwhile", |_| Ok(tell.send(())?));
        session.join(waits);
        assert!(session.conclude().is_ok());
        session.join(Aside::start("bad", || bail!("broken")));
        session.join(Aside::start("worse", || unreachable!("a panic")));
        assert_eq!((session.tally.failed, session.failures.join(" ")), (2, "bad worse".into()));
        assert!(session.conclude().is_err());
    }

    #[test]
    fn a_step_with_failing_tests_counts_only_those() {
        let mut session = Session::default();
        session.step("tests", |tally| {
            tally.add("test result: FAILED. 1 passed; 2 failed; 0 ignored");
            bail!("ended with 101")
        });
        assert_eq!(session.tally.failed, 2);
        assert!(session.conclude().is_err());
    }
}
