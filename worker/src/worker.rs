//! Starting the worker and steering it.

use std::sync::Arc;

use tallymill_protocol::Key;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::agent::{Agent, Ask, Parts};
use crate::api::{Api, ApiError, Session};
use crate::blobs::{BlobCache, BlobError};
use crate::execute::Execute;
use crate::files::FileError;
use crate::job::Owner;
use crate::join::{JoinError, Membership, chain_file, host_key};
use crate::keys::{KeyError, load_or_create};
use crate::local;
use crate::mode::{Command, Mode, NotNow};
use crate::options::{Options, OptionsError, Strangers};
use crate::outbox::{Outbox, OutboxError};
use crate::signer::{Chain, Scope, Signer, SignerError, read_chain};
use crate::status::Status;

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// This machine has not joined.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The coordinator's URL.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The host key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The chain of reports.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The blob cache.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// Another file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody works here already.
    #[error("another worker runs in {}; stop it first or use another state directory", .0.display())]
    Running(std::path::PathBuf),
}

/// A worker that has joined a coordinator.
#[derive(Debug)]
pub struct Worker;

/// Steers a running worker. Dropping it ends the worker as [`Handle::shutdown`] does, without waiting.
#[derive(Debug)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    status: watch::Receiver<Status>,
    agent: JoinHandle<()>,
    control: JoinHandle<()>,
    renewal: JoinHandle<()>,
    _lock: std::fs::File,
}

impl Worker {
    /// Starts to work with what [`join`](crate::join) left in the state directory.
    ///
    /// # Errors
    /// When an option is out of range, this machine has not joined, or its files cannot be used.
    pub async fn start(mut options: Options, execute: Arc<dyn Execute>) -> Result<Handle, Error> {
        options.validate()?;
        let state = options.state.clone();
        let membership = Membership::load(&state)?;
        if matches!(options.strangers, Strangers::Refused(_)) {
            options.rules = options.rules.only_for(membership.owner);
        }
        let lock = lock(&state)?;
        let outbox = Outbox::open(&state.join("outbox"))?;
        // A crash between the outbox and the chain leaves the outbox further on.
        let last =
            outbox.entries().last().map_or(Chain::START, |entry| Chain::after(&entry.report));
        let chain = read_chain(&chain_file(&state))?.max(last);
        let pair = load_or_create(&host_key(&state))?;
        let scope = Scope {
            network: membership.network.clone(),
            coordinator: membership.coordinator,
            chain_file: chain_file(&state),
        };
        let signer = Signer::spawn(pair, scope, chain)?;
        let api = Arc::new(Api::new(&options.coordinator, options.ca.as_deref())?);
        let audience = Key::from(membership.coordinator);
        let session = Session { api: api.clone(), signer, audience };
        let blobs = Arc::new(BlobCache::open(&state.join("blobs"), options.cache_quota)?);
        let first = Status::new(options.slots, options.strangers.warning());
        let (status, shown) = watch::channel(first.clone());
        let (asks, inbox) = mpsc::channel(16);
        let price = execute.clone();
        // A worker without a price works all the same.
        let rate = tokio::task::spawn_blocking(move || price.ordinary_rate()).await;
        let ordinary = rate.ok().flatten().unwrap_or(0);
        let listener = local::listen(&state)?;
        let owner = Owner { account: membership.owner, key: membership.owner_key(&state)? };
        let parts = Parts { options, session, execute, blobs, outbox, owner, ordinary };
        let (agent, events) = Agent::new(parts, first, status);
        let agent = tokio::spawn(agent.run(inbox, events));
        let control = tokio::spawn(local::serve(listener, asks.clone(), shown.clone()));
        let renewal = tokio::spawn(renew(membership, api, state));
        Ok(Handle { asks, status: shown, agent, control, renewal, _lock: lock })
    }
}

fn lock(state: &std::path::Path) -> Result<std::fs::File, Error> {
    let path = state.join("lock");
    let file = std::fs::File::create(&path).map_err(FileError::on("create", &path))?;
    file.try_lock().map_err(|_| Error::Running(state.to_owned()))?;
    Ok(file)
}

/// Keeps the owner's binding alive: looks once an hour.
async fn renew(mut membership: Membership, api: Arc<Api>, state: std::path::PathBuf) {
    let mut hours = tokio::time::interval(std::time::Duration::from_secs(3600));
    loop {
        hours.tick().await;
        match membership.renew_if_due(&api, &state).await {
            Ok(true) => tracing::info!("binding.renewed"),
            Ok(false) => {}
            Err(error) => tracing::warn!("binding.not renewed: {error}"),
        }
    }
}

pub(crate) async fn command(asks: &mpsc::Sender<Ask>, command: Command) -> Result<(), NotNow> {
    let (answer, reply) = oneshot::channel();
    asks.send(Ask::Command(command, answer)).await.map_err(|_| NotNow)?;
    reply.await.map_err(|_| NotNow)?
}

impl Handle {
    /// Gives back what is held and stops working.
    ///
    /// # Errors
    /// When the worker has finished.
    pub async fn pause(&self) -> Result<(), NotNow> {
        command(&self.asks, Command::Pause).await
    }

    /// Works again.
    ///
    /// # Errors
    /// When the worker has finished.
    pub async fn resume(&self) -> Result<(), NotNow> {
        command(&self.asks, Command::Resume).await
    }

    /// Finishes what is held, delivers it, and ends.
    ///
    /// # Errors
    /// When the worker has finished.
    pub async fn finish(&self) -> Result<(), NotNow> {
        command(&self.asks, Command::Finish).await
    }

    /// What it is doing now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits for a status that pleases; the last one when the worker ends before.
    pub async fn until(&mut self, mut pleases: impl FnMut(&Status) -> bool) -> Status {
        let waited =
            self.status.wait_for(|status| pleases(status)).await.map(|status| status.clone());
        waited.unwrap_or_else(|_| self.status.borrow().clone())
    }

    /// Waits until it has finished.
    pub async fn finished(&mut self) {
        self.until(|status| status.mode == Mode::Finished).await;
    }

    /// Gives back what is held, tells the coordinator within five seconds, and ends.
    /// What was not delivered stays in the outbox for the next start.
    pub async fn shutdown(mut self) {
        // An agent that is gone has shut down.
        let _ = self.asks.send(Ask::Shutdown).await;
        if let Err(error) = (&mut self.agent).await {
            tracing::error!("worker.crashed: {error}");
        }
        // Who asked for this end may not have been answered yet.
        if let Err(error) = (&mut self.control).await {
            tracing::error!("local.control: {error}");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.control.abort();
        self.renewal.abort();
        // Full or closed: an agent without callers ends by itself.
        let _ = self.asks.try_send(Ask::Shutdown);
    }
}
