//! Coordinators that share a database: one has the seat and serves, the others stand by and pass requests on to it.
//!
//! Whoever has the seat shows once a second that its engine answers; whoever stands by takes the seat when nothing has
//! come for four. No clock is compared with another one. Taking it moves the epoch of every shard on, so that what the
//! one before still decides is not committed: a coordinator that was stopped and goes on finds that out by its next
//! commit or beat, and stands by.

mod front;
mod vigil;

use std::sync::Arc;
use std::time::Duration;

use tallymill_storage::{Identity, ReadError, Seat, Sitter, Store, Taken};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::connections;
use crate::keys;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::pipeline::PipelineError;
use crate::pulse::{Beats, Life, Pulse};
use crate::service::{Handle, Served, ServiceError, engine, io};
use crate::tls::Tls;
use front::{Front, Serving};
use vigil::{Next, Vigil};

/// Pause between two looks at the seat of another one.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// Pause after a start that failed here, in which others get the seat.
const AGAIN: Duration = Duration::from_secs(10);
/// Longest wait for the engine's answer before a beat is left out.
const ANSWER: Duration = Duration::from_secs(2);
/// What the secret is derived for by which coordinators tell each other who called.
const CALLERS: &str = "tallymill 2026-11-29 callers of requests that are passed on";

/// Starts a coordinator that takes over from others on the same database, and they from it; `address` is where they reach it.
///
/// # Errors
/// When the database is a file or cannot be used, or the address cannot be listened on.
pub(crate) async fn start(
    options: Options,
    address: String,
    identity: Identity,
) -> Result<Handle, ServiceError> {
    options.private()?;
    let tls = options.tls.clone().map(Tls::open).transpose()?;
    let key = keys::load_or_create(&options.data)?.public();
    let seat = options.database.seat(&identity).await?;
    let listener = TcpListener::bind(options.listen).await.map_err(io("listen"))?;
    let addr = listener.local_addr().map_err(io("listen"))?;
    let metrics = Arc::new(Metrics::default());
    let (stop, stopped) = watch::channel(false);
    let (serving, _) = watch::channel(Serving::Nobody);
    let secret = keys::derive(&options.data, CALLERS)?;
    let client = tallymill_transport::client(
        &tallymill_transport::origin(&address)?,
        options.ca.as_deref(),
    )?;
    let front = Front::new(serving.clone(), secret, Arc::clone(&metrics), client);
    let router = front::router(front.map_err(io("make a client for the others"))?);
    let (bounds, counted) = (options.bounds, Arc::clone(&metrics));
    let front = connections::Front { router, bounds, metrics: counted, tls };
    let served = tokio::spawn(connections::serve(listener, front, stopped.clone()));
    let (end, ended) = oneshot::channel();
    let (life, shown) = watch::channel(Life::StandsBy { served: false });
    let member = Member { options, address, seat, serving, life, metrics, stopped };
    tokio::spawn(async move {
        // Nobody may be left to hear how it ended.
        drop(end.send(member.run().await));
    });
    Ok(Handle { addr, key, pulse: Pulse::of(shown), stop, served, ended })
}

/// One of them.
struct Member {
    options: Options,
    address: String,
    seat: Arc<dyn Seat>,
    serving: watch::Sender<Serving>,
    life: watch::Sender<Life>,
    metrics: Arc<Metrics>,
    stopped: watch::Receiver<bool>,
}

/// How a term in the seat came to its end.
enum Term {
    /// The process is to end.
    Stopped,
    /// Somebody else has it.
    Lost,
}

impl Member {
    async fn run(mut self) -> Result<(), PipelineError> {
        while let Some(Taken { epoch, store }) = self.stand_by().await {
            let (leave, left) = watch::channel(false);
            match self.begin(epoch, store, left).await {
                Some(Ok(served)) => {
                    if let Term::Stopped = self.serve(epoch, served, leave).await? {
                        self.leave(epoch).await;
                        return Ok(());
                    }
                }
                Some(Err(ServiceError::Pipeline(error))) if !error.passes() => {
                    self.leave(epoch).await;
                    return Err(error);
                }
                Some(Err(error)) => {
                    tracing::error!(error = %Told(&error), "failed to serve; others may");
                    self.leave(epoch).await;
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => {}
                        () = told(&mut self.stopped) => {}
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Starts an engine in the seat, which beats meanwhile: reading a large database takes longer than others wait. `None` when the
    /// seat is lost again, or the process is to end.
    async fn begin(
        &self,
        epoch: u64,
        store: Arc<dyn Store>,
        left: watch::Receiver<bool>,
    ) -> Option<Result<Served, ServiceError>> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            served = engine(self.options.clone(), store, Arc::clone(&self.metrics), left) => Some(served),
            () = self.hold(epoch, None) => None,
            () = told(&mut stopped) => {
                self.leave(epoch).await;
                None
            }
        }
    }

    /// Watches whoever has the seat, until it is this one's; `None` when the process is to end.
    async fn stand_by(&mut self) -> Option<Taken> {
        let mut vigil = Vigil::default();
        loop {
            if *self.stopped.borrow() {
                return None;
            }
            let seen = self.look(&mut vigil).await;
            if let Some(seen) = seen
                && let Some(taken) = self.take(seen.as_ref()).await
            {
                return Some(taken);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = told(&mut self.stopped) => return None,
            }
        }
    }

    /// Looks at the seat; the one that it is to be taken from, if it is.
    async fn look(&self, vigil: &mut Vigil) -> Option<Option<Sitter>> {
        match self.seat.sitter().await {
            Ok(sitter) => {
                self.follow(sitter.as_ref());
                (vigil.look(sitter.clone()) == Next::Take).then_some(sitter)
            }
            Err(error) => {
                tracing::warn!(error = %Told(&error), "failed to look who serves");
                vigil.nothing_seen();
                None
            }
        }
    }

    /// Requests go to whoever has the seat.
    fn follow(&self, sitter: Option<&Sitter>) {
        let other = sitter.filter(|it| !it.address.is_empty() && it.address != self.address);
        self.life.send_replace(Life::StandsBy { served: other.is_some() });
        let serving = other.map_or(Serving::Nobody, |sitter| Serving::There(sitter.clone().into()));
        self.serving.send_if_modified(|now| {
            let other = !now.is(&serving);
            if other {
                *now = serving;
            }
            other
        });
    }

    async fn take(&self, seen: Option<&Sitter>) -> Option<Taken> {
        match self.seat.take(seen, &self.address).await {
            Ok(Some(taken)) => {
                tracing::info!(
                    epoch = taken.epoch,
                    from = seen.map(|it| it.epoch),
                    "serves from now on"
                );
                Some(taken)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(error = %Told(&error), "failed to take the seat");
                None
            }
        }
    }

    /// Serves as long as the seat is this one's.
    async fn serve(
        &mut self,
        epoch: u64,
        served: Served,
        leave: watch::Sender<bool>,
    ) -> Result<Term, PipelineError> {
        let Served { router, life, mut ended } = served;
        let beats = life.beats();
        self.life.send_replace(life);
        self.serving.send_replace(Serving::Here(router));
        let mut stopped = self.stopped.clone();
        let term = tokio::select! {
            end = &mut ended => match end.unwrap_or(Err(PipelineError::Panicked)) {
                Ok(()) | Err(PipelineError::Fenced { .. }) => Ok(Term::Lost),
                Err(error) => Err(error),
            },
            () = self.hold(epoch, beats.as_ref()) => Ok(Term::Lost),
            () = told(&mut stopped) => Ok(Term::Stopped),
        };
        // What waits ends; what is under way has the router still, and with it the engine.
        leave.send_replace(true);
        self.life.send_replace(Life::StandsBy { served: false });
        self.serving.send_replace(Serving::Nobody);
        match term {
            // What takes longer commits nothing more once another one has the seat.
            Ok(Term::Stopped) => match tokio::time::timeout(BEAT, ended).await {
                Ok(Ok(Err(error))) if !error.passes() => Err(error),
                _ => Ok(Term::Stopped),
            },
            Ok(Term::Lost) => {
                tracing::warn!(epoch, "another coordinator serves now; this one stands by");
                Ok(Term::Lost)
            }
            Err(error) => {
                self.leave(epoch).await;
                Err(error)
            }
        }
    }

    /// Beats until the seat is lost, as long as the engine's thread does.
    async fn hold(&self, epoch: u64, beats: Option<&Beats>) {
        loop {
            if alive(beats).await {
                match self.seat.beat(epoch).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => self.missed(&error),
                }
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    fn missed(&self, error: &ReadError) {
        tracing::warn!(error = %Told(error), "failed to show the others that this one serves");
    }

    async fn leave(&self, epoch: u64) {
        if let Err(error) = self.seat.leave(epoch).await {
            tracing::warn!(error = %Told(&error), "failed to leave the seat; others wait before they take it");
        }
    }
}

/// Whether the engine's thread comes round. A commit that takes its time does not keep it: nobody else would be quicker.
async fn alive(beats: Option<&Beats>) -> bool {
    match beats {
        Some(beats) => tokio::time::timeout(ANSWER, beats.next()).await.unwrap_or(false),
        None => true,
    }
}

async fn told(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    drop(stopped.wait_for(|stop| *stop).await);
}

/// An error with its causes.
struct Told<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
