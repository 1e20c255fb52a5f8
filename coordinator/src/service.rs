//! Starting and stopping a coordinator.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tallymill_engine::{Config, rows::Identity};
use tallymill_protocol::Keypair;
use tallymill_storage::Store;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::blobs::{BlobError, BlobStore};
use crate::claims::Claims;
use crate::collector::Collector;
use crate::connections::{self, Front};
use crate::group;
use crate::http::{self, App};
use crate::keys::{self, KeyError};
use crate::metrics::Metrics;
use crate::options::{Options, PlainHttp};
use crate::pipeline::{self, Parts, PipelineError};
use crate::pulse::{Life, Pulse};
use crate::quota::Quota;
use crate::rates::Limits;
use crate::tls::{Tls, TlsError};
use crate::tokens::Tokens;

/// Longest time that requests under way get at the end.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Why a coordinator does not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The data directory, the address or the server.
    #[error("failed to {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// The key.
    #[error("failed to read the coordinator's key")]
    Key(#[from] KeyError),
    /// The certificate.
    #[error("failed to set TLS up")]
    Tls(#[from] TlsError),
    /// Everybody could listen.
    #[error(transparent)]
    Plain(#[from] PlainHttp),
    /// The database.
    #[error("failed to open the database")]
    Open(#[from] tallymill_storage::OpenError),
    /// The blobs.
    #[error("failed to open the blob store")]
    Blobs(#[from] BlobError),
    /// The address that others on the same database are given.
    #[error("failed to read where other coordinators reach this one")]
    Shared(#[from] tallymill_transport::TransportError),
    /// What was to be collected.
    #[error("failed to read what is to be collected")]
    Collector(#[from] tallymill_storage::ReadError),
    /// The engine.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

pub(crate) fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> ServiceError {
    move |source| ServiceError::Io { action, source }
}

/// A running coordinator.
pub struct Handle {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its key.
    pub key: tallymill_protocol::Key,
    /// How it is.
    pub pulse: Pulse,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) served: JoinHandle<()>,
    pub(crate) ended: oneshot::Receiver<Result<(), PipelineError>>,
}

impl Handle {
    /// Turns /readyz false, stops leasing, ends long polls and event streams, answers what is under way within
    /// [`DRAIN`], and ends; connections that take longer are cut.
    ///
    /// # Errors
    /// When the server or the engine's thread failed.
    pub async fn shutdown(mut self) -> Result<(), ServiceError> {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(DRAIN, self.drain()).await;
        self.served.abort();
        ended.unwrap_or_else(|_| {
            tracing::warn!(seconds = DRAIN.as_secs(), "requests were cut off at the end");
            Ok(())
        })
    }

    async fn drain(&mut self) -> Result<(), ServiceError> {
        let served = (&mut self.served).await;
        served.map_err(|error| io("serve")(std::io::Error::other(error)))?;
        self.ended().await
    }

    /// Waits until the engine's thread ends by itself, which it does only when going on would be wrong.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn ended(&mut self) -> Result<(), ServiceError> {
        let ended = (&mut self.ended).await;
        ended.unwrap_or(Err(PipelineError::Panicked)).map_err(ServiceError::from)
    }
}

/// Starts a coordinator.
///
/// # Errors
/// When directory, key, database, blobs or address cannot be used.
pub async fn start(options: Options) -> Result<Handle, ServiceError> {
    // Before anything is made.
    options.private()?;
    std::fs::create_dir_all(&options.data).map_err(io("make the data directory"))?;
    let key = keys::load_or_create(&options.data)?;
    let identity = Identity { network: options.network.clone(), coordinator: key.public().into() };
    if let Some(address) = options.shared.clone() {
        return group::start(options, address, identity).await;
    }
    let store = options.database.open(&identity).await?;
    start_with(options, key, store).await
}

/// Starts a coordinator with this key on this database.
///
/// # Errors
/// As [`start`].
pub async fn start_with(
    options: Options,
    key: Keypair,
    store: Arc<dyn Store>,
) -> Result<Handle, ServiceError> {
    options.private()?;
    let tls = options.tls.clone().map(Tls::open).transpose()?;
    let metrics = Arc::new(Metrics::default());
    let (stop, stopped) = watch::channel(false);
    let (listen, bounds, public) = (options.listen, options.bounds, key.public());
    let served = engine_with(options, key, store, Arc::clone(&metrics), stopped.clone()).await?;
    let listener = TcpListener::bind(listen).await.map_err(io("listen"))?;
    let addr = listener.local_addr().map_err(io("listen"))?;
    let Served { router, ended, life, .. } = served;
    let pulse = Pulse::of(watch::channel(life).1);
    let front = Front { router, bounds, metrics, tls };
    let served = tokio::spawn(connections::serve(listener, front, stopped));
    Ok(Handle { addr, key: public, pulse, stop, served, ended })
}

/// An engine and what reaches it.
pub(crate) struct Served {
    /// Answers requests.
    pub(crate) router: Router,
    /// How it is.
    pub(crate) life: Life,
    /// Its end.
    pub(crate) ended: oneshot::Receiver<Result<(), PipelineError>>,
}

/// Starts an engine with the key in the data directory on this database; it drains once `stopped` says so.
pub(crate) async fn engine(
    options: Options,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    stopped: watch::Receiver<bool>,
) -> Result<Served, ServiceError> {
    let key = keys::load_or_create(&options.data)?;
    engine_with(options, key, store, metrics, stopped).await
}

async fn engine_with(
    options: Options,
    key: Keypair,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    stopped: watch::Receiver<bool>,
) -> Result<Served, ServiceError> {
    let identity = Identity { network: options.network.clone(), coordinator: key.public().into() };
    let grants = options.grants(identity.coordinator);
    let mut config = Config::new(grants, options.operators.clone(), keys::random()?);
    config.admission = options.admission;
    let (queue, events) = (options.bounds.queue, options.bounds.events);
    let parts = Parts {
        store: Arc::<dyn Store>::clone(&store),
        identity,
        config,
        queue,
        events,
        metrics: Arc::clone(&metrics),
    };
    let running = pipeline::start(parts).await?;
    let shared = options.shared.is_some();
    let (folder, limit) = (options.blobs.clone(), options.bounds.blob);
    let blobs = match shared {
        true => BlobStore::open_shared(&folder, limit, u64::from_le_bytes(keys::random()?)).await?,
        false => BlobStore::open(&folder, limit).await?,
    };
    let (blobs, claims) = (Arc::new(blobs), Claims::default());
    let rule = (options.retention, options.data.clone());
    let parts = (Arc::<dyn Store>::clone(&store), Arc::clone(&blobs), claims.clone());
    let collector = Collector::open(parts.0, parts.1, parts.2, rule, shared).await?;
    let (public, bounds) = (key.public(), options.bounds);
    let tokens = Tokens::new(keys::random()?, public, bounds.session).with_links(bounds.link);
    let app = Arc::new(App {
        options,
        key,
        store,
        pipeline: running.pipeline,
        events: running.events,
        blobs,
        claims,
        quota: Quota::default(),
        tokens,
        limits: Limits::new(&bounds.rates),
        epoch: running.epoch,
        stopping: stopped,
        metrics,
        tables: http::work::Tables::default(),
        books: std::sync::Mutex::default(),
    });
    let (pipeline, counts) = (app.pipeline.clone(), Arc::clone(&app.metrics));
    tokio::spawn(collector.run(pipeline, counts, app.stopping.clone()));
    let (app, router) = (Arc::downgrade(&app), http::router(&app));
    Ok(Served { router, life: Life::Serves { app, beats: running.beats }, ended: running.ended })
}
