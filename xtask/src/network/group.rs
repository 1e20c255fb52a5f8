//! Several coordinators on one database, of which one serves.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{Network, PATIENCE, PROBE, http};

/// What a coordinator says when it serves itself.
const SERVES: &str = "ready\n";

impl Network {
    /// Starts `count` coordinators on the database at this address, with one key and one folder of blobs.
    pub(crate) fn start_group(
        program: &Path,
        folder: &Path,
        address: String,
        count: usize,
    ) -> anyhow::Result<Self> {
        // The first one makes the key, and gives the group an operator.
        let mut network = Self::start_on(program, folder, Some(address))?;
        let mut alone = network.coordinators.pop().context("no coordinator was started")?;
        alone.process.stop()?;
        for number in 0..count {
            let data = folder.join(format!("coordinator-{number}"));
            std::fs::create_dir_all(&data)?;
            std::fs::copy(alone.data.join("coordinator.key"), data.join("coordinator.key"))?;
            let started = network.coordinator(&free()?, data, true)?;
            network.coordinators.push(started);
        }
        network.await_owner(&[])?;
        Ok(network)
    }

    /// Waits until one serves that is none of these, and says which.
    pub(crate) fn await_owner(&mut self, but: &[usize]) -> anyhow::Result<usize> {
        let began = Instant::now();
        loop {
            for number in (0..self.coordinators.len()).filter(|number| !but.contains(number)) {
                let coordinator = &mut self.coordinators[number];
                coordinator.process.check()?;
                let said = http::get(&coordinator.authority, "/readyz");
                if matches!(said, Ok((200, body)) if body == SERVES) {
                    return Ok(number);
                }
            }
            if began.elapsed() > PATIENCE {
                bail!("no coordinator served within {PATIENCE:?}");
            }
            std::thread::sleep(PROBE);
        }
    }

    /// Kills the one that serves, and starts it again once another one does; how long that took.
    pub(crate) fn kill_owner(&mut self, owner: usize, but: &[usize]) -> anyhow::Result<Duration> {
        self.coordinators[owner].process.kill()?;
        let began = Instant::now();
        self.await_owner(&[but, &[owner]].concat())?;
        let took = began.elapsed();
        self.start_again(owner)?;
        Ok(took)
    }

    /// Stops the one that serves as it is; how long it took until another one did.
    pub(crate) fn suspend(&mut self, owner: usize) -> anyhow::Result<Duration> {
        self.signal(owner, Signal::STOP)?;
        let began = Instant::now();
        self.await_owner(&[owner])?;
        Ok(began.elapsed())
    }

    /// Lets one go on that was stopped; it must stand by then.
    pub(crate) fn resume(&mut self, number: usize) -> anyhow::Result<()> {
        self.signal(number, Signal::CONT)?;
        let began = Instant::now();
        loop {
            let coordinator = &mut self.coordinators[number];
            coordinator.process.check().context("it did not outlive the loss of its seat")?;
            let said = http::get(&coordinator.authority, "/readyz");
            if matches!(said, Ok((200, body)) if body != SERVES) {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "a coordinator that woke did not stand by");
            std::thread::sleep(PROBE);
        }
    }

    fn signal(&self, number: usize, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.coordinators[number].process.id())?;
        let id = Pid::from_raw(id).context("a process without an id")?;
        kill_process(id, signal).context("failed to signal a coordinator")
    }
}

/// A free address of this machine.
fn free() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}
