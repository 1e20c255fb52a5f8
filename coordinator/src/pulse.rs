//! How a coordinator is, for whoever watches over its process.

use std::sync::Weak;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};

use crate::http::App;

/// Signs of life of the engine's thread.
#[derive(Debug, Clone)]
pub struct Beats(mpsc::Sender<oneshot::Sender<()>>);

impl Beats {
    /// Those of the one thread that drives this runtime. They come between two of its turns, so a commit that hangs and a
    /// database that is loaded anew hold none up; an engine that does not come back does.
    pub(crate) fn of(runtime: &Runtime) -> Self {
        let (asks, mut asked) = mpsc::channel::<oneshot::Sender<()>>(1);
        runtime.spawn(async move {
            while let Some(beat) = asked.recv().await {
                // Who asked may have gone.
                let _gone = beat.send(());
            }
        });
        Self(asks)
    }

    /// Waits for the next one; false when the thread has ended.
    pub async fn next(&self) -> bool {
        let (beat, heard) = oneshot::channel();
        self.0.send(beat).await.is_ok() && heard.await.is_ok()
    }
}

/// What a process does.
#[derive(Clone)]
pub(crate) enum Life {
    /// It serves.
    Serves {
        /// What it serves with.
        app: Weak<App>,
        /// Its engine's thread.
        beats: Beats,
    },
    /// Another one of its group serves, or will.
    StandsBy {
        /// Whether one does.
        served: bool,
    },
}

impl Life {
    /// Signs of life of the engine, if there is one.
    pub(crate) fn beats(&self) -> Option<Beats> {
        match self {
            Self::Serves { beats, .. } => Some(beats.clone()),
            Self::StandsBy { .. } => None,
        }
    }
}

/// What a running coordinator shows. It keeps nothing of it alive.
#[derive(Clone)]
pub struct Pulse(watch::Receiver<Life>);

impl Pulse {
    pub(crate) const fn of(life: watch::Receiver<Life>) -> Self {
        Self(life)
    }

    /// Whether requests are answered, here or by another one of the group: what `/readyz` answers.
    #[must_use]
    pub fn ready(&self) -> bool {
        match &*self.0.borrow() {
            Life::Serves { app, .. } => app.upgrade().is_some_and(|app| app.ready()),
            Life::StandsBy { served } => *served,
        }
    }

    /// Waits for a sign of life of the engine's thread, where there is one; false when it has ended.
    pub async fn beat(&self) -> bool {
        let life = self.0.borrow().clone();
        match life {
            Life::Serves { beats, .. } => beats.next().await,
            Life::StandsBy { .. } => true,
        }
    }
}
