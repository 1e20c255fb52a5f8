//! One module per verb; what they share stands here.

pub mod admin;
pub mod config;
pub mod coordinator;
pub mod credit;
pub mod dev;
pub mod doctor;
pub mod health;
pub mod help;
pub mod job;
pub mod key;
pub mod open;
pub mod run;
pub mod submit;
pub mod verify;
pub mod worker;
mod worth;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tallymill_protocol::Limits;
use tallymill_sdk::{Client, JobHandle, KeyFile};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Common, LimitArgs};
use crate::fault::Usage;

/// The wish that this process stops. It is listened for before anything starts, so that nobody who has seen a sign of life
/// can stop a part without the rest.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    pub fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self {
            interrupt,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for Ctrl-C, SIGTERM, or the end of the terminal.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// The key file to use: as told, or the one in the user's configuration folder.
pub fn key_path(common: &Common) -> PathBuf {
    common.key.clone().unwrap_or_else(|| {
        let home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let home =
            home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
        home.unwrap_or_default().join("tallymill/account.key")
    })
}

/// A client for the coordinator and key that the command line names.
pub async fn client(common: &Common) -> anyhow::Result<Client> {
    let key = KeyFile::load_or_create(&key_path(common))?;
    Ok(Client::connect_trusting(&common.url, key, common.ca.as_deref()).await?)
}

/// A job named on the command line.
pub async fn handle(common: &Common, id: &str) -> anyhow::Result<JobHandle> {
    let id = id.parse().map_err(|e| Usage(format!("'{id}' is not a job's id: {e}")))?;
    Ok(client(common).await?.job(id))
}

/// Splits `A=B`.
pub fn pair<'t>(text: &'t str, what: &str) -> Result<(&'t str, &'t str), Usage> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Usage(format!("'{text}' is not {what}")))
}

/// Reads the files of `NAME=FILE` options.
pub fn named_files(options: &[String]) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let read = |option: &String| {
        let (name, path) = pair(option, "NAME=FILE")?;
        Ok((name.to_owned(), read(Path::new(path))?))
    };
    options.iter().map(read).collect()
}

/// Reads a file, naming it when that fails.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

/// The default limits with those of the command line.
pub fn limits(args: &LimitArgs) -> Limits {
    const MIB: u64 = 1 << 20;
    let mut limits = Limits::default();
    limits.fuel = args.fuel.unwrap_or(limits.fuel);
    limits.memory = args.memory.map_or(limits.memory, |mib| mib.saturating_mul(MIB));
    limits.output = args.output.map_or(limits.output, |mib| mib.saturating_mul(MIB));
    limits
}
