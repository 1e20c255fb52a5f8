//! A child process of ours: its first lines, its log, its end.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Lines of standard output kept until somebody reads them; what comes after is dropped.
const LINES: usize = 64;
/// How long a child may take to stop when asked.
const GRACE: Duration = Duration::from_secs(15);
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// A running program. Dropping it stops it, and only it.
pub(crate) struct Child {
    name: String,
    process: std::process::Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Child {
    /// Starts `command`; its standard error is appended to `NAME.log` in `folder`.
    pub(crate) fn start(command: &mut Command, name: &str, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join(name).with_extension("log");
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("failed to open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        // Whatever started this process waits for none of its children.
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        let mut process = command.spawn().with_context(|| format!("failed to start {name}"))?;
        let (sender, lines) = sync_channel(LINES);
        if let Some(stdout) = process.stdout.take() {
            std::thread::spawn(move || pass_lines(stdout, &sender));
        }
        Ok(Self { name: name.to_owned(), process, lines, log })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line of its standard output.
    pub(crate) fn line(&mut self, wait: Duration) -> anyhow::Result<String> {
        self.lines
            .recv_timeout(wait)
            .map_err(|_| anyhow!("{} printed nothing within {wait:?}; {}", self.name, self.said()))
    }

    /// An error when it ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            Some(status) => bail!("{} ended with {status}; {}", self.name, self.said()),
            None => Ok(()),
        }
    }

    /// Kills it without warning and waits until it is gone.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().with_context(|| format!("failed to kill {}", self.name))?;
        self.process.wait().with_context(|| format!("failed to wait for {}", self.name))?;
        Ok(())
    }

    /// Asks it to stop, waits a while, then kills it.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        if self.process.try_wait()?.is_some() {
            return Ok(());
        }
        let asked = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let until = Instant::now() + GRACE;
        while asked.is_ok() && Instant::now() < until {
            if self.process.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        self.kill()
    }

    /// The end of its log and what it printed and nobody read, for an error message.
    fn said(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(10).collect();
        let last: Vec<String> = lines.into_iter().rev().map(str::to_owned).collect();
        let last: Vec<String> = last.into_iter().chain(self.lines.try_iter()).collect();
        format!("its log {} ends with:\n{}", self.log.display(), last.join("\n"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing more can be done for a process that can be neither asked nor killed.
        let _gone = self.stop();
    }
}

/// Reads until the pipe closes, so that the child never waits for us.
fn pass_lines(stdout: ChildStdout, sender: &SyncSender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let _full = sender.try_send(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Child {
        Child::start(Command::new("sh").args(["-c", script]), "shell", folder).unwrap()
    }

    #[test]
    fn lines_come_in_order_and_a_stopped_child_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = shell("echo one; echo two; exec sleep 600", folder.path());
        let read: Vec<_> = (0..2).map(|_| child.line(GRACE).unwrap()).collect();
        assert_eq!(read, ["one", "two"]);
        child.check().unwrap();
        child.stop().unwrap();
        assert!(child.check().unwrap_err().to_string().contains("shell ended with"));
    }

    #[test]
    fn a_child_that_fails_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = shell("echo out of luck >&2; exit 3", folder.path());
        let error = child.line(GRACE).unwrap_err().to_string();
        assert!(error.contains("printed nothing") && error.contains("out of luck"), "{error}");
    }

    #[test]
    fn dropping_a_child_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let child = shell("exec sleep 600", folder.path());
        let entry = PathBuf::from(format!("/proc/{}", child.id()));
        assert!(entry.exists());
        drop(child);
        assert!(!entry.exists());
    }
}
