//! A store that fails on demand: callers hear "unavailable", and the same process goes on once writes succeed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::{Value, json};
use tallymill_coordinator::pipeline::{Parts, Unavailable, start};
use tallymill_engine::{Command, Config, Reply};
use tallymill_ledger::{Amount, GrantPolicy};
use tallymill_protocol::cbor::List;
use tallymill_protocol::work::{Verdict, WorkRequest};
use tallymill_protocol::{
    AccountStatement, Digest, Keypair, Manifest, Message as _, Micros, Network, Visibility,
};
use tallymill_storage::Identity;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::failing::Failing;
use crate::world::{Worker, World, asking, network, problem, receipt};

pub fn open(identity: &Identity, secret: u8) -> Command {
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
async fn a_database_that_cannot_be_read_is_503_and_never_a_wrong_answer() {
    let key = || Keypair::from_secret(&[7; 32]);
    let identity = Identity { network: network(), coordinator: key().public().into() };
    let store = Arc::new(Failing::new(&identity));
    let world = World::on(key(), Arc::<Failing>::clone(&store)).await;
    let payer = world.person(2, 100).await;
    let host = world.host(3, &payer).await;
    let job = world.submitted(&payer, &world.manifest(&payer, 1).await).await;
    let token = world.lease(&host).await;
    let upload = host.upload(&token, &[receipt(&token.peek().unwrap(), b"out")], b"out");
    store.unreadable.store(true, Ordering::Release);
    // What is there is not said to be missing, and a report is not refused for it.
    let request = WorkRequest { reports: List(vec![upload.clone()]), buffer: 0, ..asking() };
    let calls = [
        (&payer, Method::GET, format!("/api/v1/jobs/{job}"), Vec::new()),
        (&payer, Method::GET, format!("/api/v1/jobs/{job}/results"), Vec::new()),
        (&host.person, Method::GET, format!("/api/v1/jobs/{job}/manifest"), Vec::new()),
        (&host.person, Method::POST, "/api/v1/work".to_owned(), request.to_bytes()),
    ];
    for (who, method, path, body) in calls {
        let answer = world.as_person(who, method, &path, body).await;
        assert_eq!(answer.headers().get("retry-after").unwrap(), "1", "{path}");
        problem(answer, 503).await;
    }
    store.unreadable.store(false, Ordering::Release);
    assert_eq!(world.report(&host, upload).await.verdicts.0, [Verdict::Settled as u8]);
}

/// A call for work that waits, its connection open.
async fn waiting(world: &World, host: &Worker) -> TcpStream {
    let body = WorkRequest { wait: 30_000, ..asking() }.to_bytes();
    let mut call = TcpStream::connect(world.handle.addr).await.unwrap();
    let head = format!(
        "POST /api/v1/work HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ntallymill-protocol: 1\r\ncontent-length: {}\r\n\r\n",
        world.handle.addr,
        host.person.token,
        body.len()
    );
    call.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    hosts_waiting(world, 1).await;
    call
}

async fn hosts_waiting(world: &World, count: u32) {
    let line = format!("tallymill_hosts_waiting {count}");
    loop {
        let metrics = world.call(Method::GET, "/metrics").send().await.unwrap();
        if metrics.text().await.unwrap().lines().any(|found| found == line) {
            return;
        }
    }
}

#[tokio::test]
async fn a_lease_whose_call_died_goes_to_others_at_once() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let (gone, other) = (world.host(3, &payer).await, world.host(4, &payer).await);
    drop(waiting(&world, &gone).await);
    let job = world.submitted(&payer, &world.manifest(&payer, 1).await).await;
    // The task was leased to the host that waited, which will never hear of it.
    hosts_waiting(&world, 0).await;
    let lease = world.lease(&other).await.peek().unwrap();
    assert_eq!((lease.job.to_string(), lease.count), (job, 1));
    let path = format!("/api/v1/hosts/{}", gone.person.pair.public());
    let host: Value = world.get(&payer, &path).await.json().await.unwrap();
    assert_eq!(host["abandoned"], "0", "{host}");
}

#[tokio::test]
async fn an_audit_tells_of_leases_in_flight_that_their_escrow_does_not_cover() {
    let key = || Keypair::from_secret(&[7; 32]);
    let identity = Identity { network: network(), coordinator: key().public().into() };
    let store = Arc::new(Failing::new(&identity));
    let world = World::on(key(), Arc::<Failing>::clone(&store)).await;
    let (payer, operator) = (world.person(2, 100).await, world.person(1, 0).await);
    let host = world.host(3, &payer).await;
    let manifest = world.manifest(&payer, 1).await;
    let job = world.submitted(&payer, &manifest).await;
    world.lease(&host).await;
    let audit = async || {
        let found = world.get(&operator, "/api/v1/admin/audit").await;
        found.json::<Value>().await.unwrap()["offences"].clone()
    };
    assert_eq!(audit().await, json!([]));
    store.short.store(true, Ordering::Release);
    store.fails.store(true, Ordering::Release);
    let more = Manifest { visibility: Visibility::Private, ..manifest };
    problem(world.submit(&payer, &more).await, 503).await;
    store.fails.store(false, Ordering::Release);
    while world.call(Method::GET, "/readyz").send().await.unwrap().status() != 200 {
        tokio::task::yield_now().await;
    }
    let why = world.get(&payer, &format!("/api/v1/jobs/{job}/why")).await;
    let reserved = why.json::<Value>().await.unwrap()["reserved"].clone();
    let found = audit().await;
    let (found, more) = found.as_array().unwrap().split_first().unwrap();
    assert!(more.is_empty(), "the database's own books are in order: {more:?}");
    assert_eq!((&found["found"], &found["expected"]), (&json!("1"), &reserved), "{found}");
    assert!(found["rule"].as_str().unwrap().contains("escrow"), "{found}");
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
