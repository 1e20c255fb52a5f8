//! A store that fails on demand: callers hear "unavailable", and the same process goes on once writes succeed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tallymill_coordinator::pipeline::{Parts, Unavailable, start};
use tallymill_engine::{Command, Config, Reply};
use tallymill_ledger::{Amount, GrantPolicy};
use tallymill_protocol::{AccountStatement, Digest, Keypair, Micros, Network};
use tallymill_storage::{
    Answer, Batch, CommitError, Commits, Identity, LoadError, MemoryStore, Snapshot,
};

struct Failing {
    inner: MemoryStore,
    fails: AtomicBool,
}

impl Commits for Failing {
    fn durability(&self) -> tallymill_storage::Durability {
        self.inner.durability()
    }

    fn commit<'a>(&'a self, batch: &'a Batch) -> Answer<'a, (), CommitError> {
        match self.fails.load(Ordering::Acquire) {
            true => Box::pin(async { Err(CommitError::Full) }),
            false => self.inner.commit(batch),
        }
    }

    fn load(&self) -> Answer<'_, Snapshot, LoadError> {
        self.inner.load()
    }

    fn probe(&self) -> Answer<'_, (), CommitError> {
        match self.fails.load(Ordering::Acquire) {
            true => Box::pin(async { Err(CommitError::Full) }),
            false => self.inner.probe(),
        }
    }
}

fn open(identity: &Identity, secret: u8) -> Command {
    let pair = Keypair::from_secret(&[secret; 32]);
    let statement = AccountStatement {
        format: 1,
        network: identity.network.clone(),
        account: pair.public().into(),
        recovery: Digest::ZERO,
        issued: Micros(1),
    };
    let envelope = pair.sign(&statement).envelope().clone();
    Command::OpenAccount { statement, envelope }
}

#[tokio::test]
async fn a_failed_commit_answers_unavailable_and_the_process_recovers() {
    let coordinator = Keypair::from_secret(&[7; 32]).public().into();
    let identity = Identity { network: Network::new("test").unwrap(), coordinator };
    let grants = GrantPolicy { issuer: coordinator, per_account: Amount::MAX, total: Amount::MAX };
    let inner = MemoryStore::new(&identity);
    let store = Arc::new(Failing { inner, fails: AtomicBool::new(false) });
    let config = Config::new(grants, Vec::new(), [3; 32]);
    let parts = Parts {
        store: Arc::<Failing>::clone(&store),
        identity: identity.clone(),
        config,
        queue: 16,
        events: 16,
        metrics: Arc::default(),
    };
    let running = start(parts).await.unwrap();
    let pipeline = running.pipeline;
    let first = pipeline.ask(open(&identity, 1)).await.unwrap();
    assert!(matches!(first, Reply::Done { .. }), "{first:?}");
    store.fails.store(true, Ordering::Release);
    assert_eq!(pipeline.ask(open(&identity, 2)).await, Err(Unavailable));
    assert!(!pipeline.ready());
    store.fails.store(false, Ordering::Release);
    while !pipeline.ready() {
        tokio::task::yield_now().await;
    }
    assert_eq!(pipeline.network().await.unwrap().accounts, 1, "the failed one never happened");
    let again = pipeline.ask(open(&identity, 2)).await.unwrap();
    assert!(matches!(again, Reply::Done { .. }), "{again:?}");
    drop(pipeline);
    running.ended.await.unwrap().unwrap();
}
