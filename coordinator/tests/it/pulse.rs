//! Signs of life of the engine's thread: they end with it and when it stands still, and a database holds none up.

use std::future::Future as _;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tallymill_coordinator::pipeline::{Parts, Running, start};
use tallymill_engine::Config;
use tallymill_ledger::{Amount, GrantPolicy};
use tallymill_protocol::{Keypair, Network};
use tallymill_storage::Identity;

use crate::failing::Failing;
use crate::pipeline::open;

async fn running() -> (Running, Arc<Failing>, Identity) {
    let coordinator = Keypair::from_secret(&[7; 32]).public().into();
    let identity = Identity { network: Network::new("test").unwrap(), coordinator };
    let grants = GrantPolicy { issuer: coordinator, per_account: Amount::MAX, total: Amount::MAX };
    let store = Arc::new(Failing::new(&identity));
    let parts = Parts {
        store: Arc::<Failing>::clone(&store),
        identity: identity.clone(),
        config: Config::new(grants, Vec::new(), [3; 32]),
        queue: 16,
        events: 16,
        metrics: Arc::default(),
    };
    (start(parts).await.unwrap(), store, identity)
}

#[tokio::test]
async fn a_thread_has_a_beat_until_it_ends() {
    let (running, ..) = running().await;
    assert!(running.beats.next().await);
    drop(running.pipeline);
    running.ended.await.unwrap().unwrap();
    assert!(!running.beats.next().await);
}

#[tokio::test]
async fn a_commit_that_hangs_holds_no_beat_up_nor_does_a_database_that_fails() {
    let (running, store, identity) = running().await;
    store.fails.store(true, Ordering::Release);
    running.pipeline.ask(open(&identity, 1)).await.unwrap_err();
    assert!(running.beats.next().await);
    store.fails.store(false, Ordering::Release);
    while !running.pipeline.ready() {
        tokio::task::yield_now().await;
    }
    store.hangs.store(true, Ordering::Release);
    let pipeline = running.pipeline.clone();
    tokio::spawn(async move { pipeline.ask(open(&identity, 2)).await });
    while !store.hanging.load(Ordering::Acquire) {
        tokio::task::yield_now().await;
    }
    assert!(running.beats.next().await);
}

/// Waits within the thread that wakes it, until it is told to go on.
struct Gate {
    reached: Sender<()>,
    opened: Mutex<Receiver<()>>,
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.reached.send(()).unwrap();
        self.opened.lock().unwrap().recv().unwrap();
    }
}

/// With threads of their own for commits, since this one waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_thread_that_stands_still_has_no_beat() {
    let (running, ..) = running().await;
    let ((reached, is_there), (go_on, opened)) = (channel(), channel());
    let waker = Waker::from(Arc::new(Gate { reached, opened: Mutex::new(opened) }));
    let mut asked = Box::pin(running.pipeline.network());
    assert!(asked.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    is_there.recv().unwrap();
    let mut beat = Box::pin(running.beats.next());
    let short = Duration::from_millis(100);
    assert!(tokio::time::timeout(short, &mut beat).await.is_err(), "it stands still");
    go_on.send(()).unwrap();
    assert!(beat.await);
}
