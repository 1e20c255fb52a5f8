//! A store that fails on demand: callers hear "unavailable", and the same process goes on once writes succeed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::Method;
use tallymill_coordinator::pipeline::{Parts, Unavailable, start};
use tallymill_engine::{Command, Config, Reply};
use tallymill_ledger::{Amount, GrantPolicy};
use tallymill_protocol::{
    AccountStatement, Digest, Keypair, Manifest, Micros, Network, Visibility,
};
use tallymill_storage::Identity;

use crate::failing::Failing;
use crate::world::{World, network, problem};

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
    let store = Arc::new(Failing::new(&identity));
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

#[tokio::test]
async fn a_failed_commit_is_503_with_a_time_to_come_back_and_the_coordinator_recovers() {
    let key = || Keypair::from_secret(&[7; 32]);
    let identity = Identity { network: network(), coordinator: key().public().into() };
    let store = Arc::new(Failing::new(&identity));
    let world = World::on(key(), Arc::<Failing>::clone(&store)).await;
    let payer = world.person(2, 100).await;
    let manifest = world.manifest(&payer, 1).await;
    let private = Manifest { visibility: Visibility::Private, ..manifest };
    let get = |path: &str| world.call(Method::GET, path).send();
    assert_eq!(get("/readyz").await.unwrap().status(), 200);
    store.fails.store(true, Ordering::Release);
    let failed = world.submit(&payer, &private).await;
    assert_eq!(failed.headers()["retry-after"], "1");
    let told = problem(failed, 503).await;
    assert!(told["next"].as_str().unwrap().contains("again"), "{told}");
    let ready = get("/readyz").await.unwrap();
    assert_eq!(ready.headers()["retry-after"], "1");
    assert!(problem(ready, 503).await["detail"].as_str().unwrap().contains("database"));
    assert_eq!(get("/livez").await.unwrap().status(), 200);
    let metrics = get("/metrics").await.unwrap().text().await.unwrap();
    for line in ["tallymill_ready 0", "tallymill_commit_failures_total 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    let jobs = world.get(&payer, "/api/v1/jobs").await.text().await.unwrap();
    assert!(jobs.contains("\"items\":[]"), "reads go on, and nothing is half done: {jobs}");
    store.fails.store(false, Ordering::Release);
    while get("/readyz").await.unwrap().status() != 200 {
        tokio::task::yield_now().await;
    }
    world.submitted(&payer, &private).await;
}

#[tokio::test]
async fn an_engine_that_panics_ends_the_coordinator_with_an_error_and_is_not_ready() {
    let key = || Keypair::from_secret(&[7; 32]);
    let identity = Identity { network: network(), coordinator: key().public().into() };
    let store = Arc::new(Failing::new(&identity));
    let mut world = World::on(key(), Arc::<Failing>::clone(&store)).await;
    let payer = world.person(2, 100).await;
    let manifest = world.manifest(&payer, 1).await;
    store.panics.store(true, Ordering::Release);
    store.fails.store(true, Ordering::Release);
    problem(world.submit(&payer, &manifest).await, 503).await;
    let ended = world.handle.ended().await.unwrap_err();
    assert!(ended.to_string().contains("panicked"), "{ended}");
    let ready = world.call(Method::GET, "/readyz").send().await.unwrap();
    problem(ready, 503).await;
}
