//! Coordinators that share a database.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use tallymill_coordinator::{Options, ServiceError, keys};
use tallymill_protocol::{AccountStatement, Digest, Keypair, Message as _, Micros};
use tallymill_storage::{Identity, OpenError, Place, Seat};

use crate::world::{Person, World, network, receipt};

/// How long a takeover may take here: twice of what it may in production, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);
/// The key that all of them have.
const KEY: [u8; 32] = [8; 32];

fn place() -> Place {
    tallymill_postgres::shared().database().unwrap().parse().unwrap()
}

/// A free address of this machine.
fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// One of several coordinators on this database.
async fn member(place: &Place) -> World {
    let (place, address) = (place.clone(), free());
    World::start_with(|options: &mut Options| {
        options.listen = address.parse().unwrap();
        options.shared = Some(format!("http://{address}"));
        options.database = place;
        keys_in(&options.data);
    })
    .await
}

fn keys_in(data: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = data.join(keys::KEY_FILE);
    std::fs::write(&path, KEY).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn seat(place: &Place) -> Arc<dyn Seat> {
    let coordinator = Keypair::from_secret(&KEY).public().into();
    place.seat(&Identity { network: network(), coordinator }).await.unwrap()
}

async fn get(world: &World, path: &str) -> (StatusCode, String) {
    match world.call(Method::GET, path).send().await {
        Ok(response) => (response.status(), response.text().await.unwrap()),
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Asks until the answer is this one.
async fn until(world: &World, path: &str, wanted: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let (status, text) = get(world, path).await;
        if status == StatusCode::OK && wanted(&text) {
            return text;
        }
        assert!(began.elapsed() < PATIENCE, "{path}: {status} {text}");
        tokio::task::yield_now().await;
    }
}

async fn epoch(world: &World) -> u64 {
    let text = until(world, "/api/v1/network", |_| true).await;
    let view: serde_json::Value = serde_json::from_str(&text).unwrap();
    view["epoch"].as_str().unwrap().parse().unwrap()
}

/// A payer with credit and a job of three tasks, through any of them.
async fn customer(world: &World) -> (Person, String) {
    let payer = world.person(2, 1_000).await;
    let manifest = world.manifest(&payer, 3).await;
    let job = world.submitted(&payer, &manifest).await;
    (payer, job)
}

#[tokio::test]
async fn any_of_them_answers_and_the_next_goes_on_where_the_last_one_stopped() {
    let place = place();
    let first = member(&place).await;
    until(&first, "/readyz", |text| text == "ready\n").await;
    let second = member(&place).await;
    let ready = until(&second, "/readyz", |_| true).await;
    assert_eq!(ready, format!("ready: {} serves\n", first.url));
    assert_eq!(get(&second, "/livez").await.1, "alive\n");
    assert!(get(&second, "/metrics").await.1.contains("tallymill_ready 0"), "it does not serve");
    let (payer, job) = customer(&second).await;
    let worker = second.host(3, &payer).await;
    let before = epoch(&first).await;
    assert_eq!(epoch(&second).await, before);
    let lease = second.lease(&worker).await;
    first.handle.shutdown().await.unwrap();
    until(&second, "/readyz", |text| text == "ready\n").await;
    assert!(epoch(&second).await > before);
    let path = format!("/api/v1/jobs/{job}");
    let payer = Person { token: second.token(&payer.pair, "api").await, ..payer };
    let view = second.get(&payer, &path).await.text().await.unwrap();
    assert!(view.contains(r#""state":"running""#), "{view}");
    // A lease of the one before counts still, and is paid for once.
    let mut worker = worker;
    worker.person.token = second.token(&worker.person.pair, "worker").await;
    let upload = worker.upload(&lease, &[receipt(&lease.peek().unwrap(), b"out")], b"out");
    let answer = second.report(&worker, upload.clone()).await;
    assert_eq!(answer.verdicts.0, [0], "{:?}", answer.reason);
    assert_eq!(second.report(&worker, upload).await, answer);
    second.handle.shutdown().await.unwrap();
    assert_eq!(seat(&place).await.sitter().await.unwrap(), None, "the last one left it");
}

#[tokio::test]
async fn one_that_lost_its_seat_commits_nothing_and_stands_by() {
    let place = place();
    let one = member(&place).await;
    until(&one, "/readyz", |text| text == "ready\n").await;
    let before = epoch(&one).await;
    // Somebody takes the seat who thinks that this one is gone, as of one that was stopped; and is gone itself then.
    let seat = seat(&place).await;
    let taken = loop {
        let seen = seat.sitter().await.unwrap();
        if let Some(taken) = seat.take(seen.as_ref(), "http://127.0.0.1:9").await.unwrap() {
            break taken;
        }
    };
    assert!(taken.epoch > before);
    until(&one, "/readyz", |text| text == "ready: http://127.0.0.1:9 serves\n").await;
    let (status, text) = get(&one, "/api/v1/network").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "nobody is there: {text}");
    until(&one, "/readyz", |text| text == "ready\n").await;
    assert!(epoch(&one).await > taken.epoch, "it took the seat again when nothing moved");
    one.handle.shutdown().await.unwrap();
}

#[tokio::test]
async fn one_that_reads_a_large_database_keeps_its_seat_meanwhile() {
    use sqlx::Connection as _;
    let address = tallymill_postgres::shared().database().unwrap();
    let place: Place = address.parse().unwrap();
    // Makes the tables.
    let seat = seat(&place).await;
    let mut beside = sqlx::PgConnection::connect(&address).await.unwrap();
    let mut held = beside.begin().await.unwrap();
    sqlx::query("LOCK TABLE job IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let (slow, other) = (member(&place).await, member(&place).await);
    let began = Instant::now();
    let beats = |sitter: Option<tallymill_storage::Sitter>| sitter.map_or(0, |it| it.beat);
    while beats(seat.sitter().await.unwrap()) < 6 {
        assert!(began.elapsed() < PATIENCE, "{:?}", seat.sitter().await);
    }
    assert_eq!(seat.sitter().await.unwrap().unwrap().epoch, 1, "nobody else took it");
    held.rollback().await.unwrap();
    until(&slow, "/readyz", |_| true).await;
    until(&other, "/readyz", |_| true).await;
    assert_eq!(epoch(&slow).await, 1);
}

#[tokio::test]
async fn a_request_is_passed_on_once_and_says_who_called() {
    let place = place();
    let first = member(&place).await;
    until(&first, "/readyz", |text| text == "ready\n").await;
    let second = member(&place).await;
    until(&second, "/readyz", |_| true).await;
    let forged =
        second.call(Method::GET, "/api/v1/network").header("tallymill-caller", "1.2.3.4:5;00");
    assert_eq!(forged.send().await.unwrap().status(), StatusCode::OK, "it is nobody's word");
    let secret =
        blake3::derive_key("tallymill 2026-11-29 callers of requests that are passed on", &KEY);
    let seal = blake3::keyed_hash(&secret, b"1.2.3.4:5");
    let passed = second.call(Method::GET, "/api/v1/network");
    let passed = passed.header("tallymill-caller", format!("1.2.3.4:5;{seal}"));
    let answer = passed.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "not round in circles");
    assert_eq!(answer.headers()["retry-after"], "2");
}

#[tokio::test]
async fn one_that_shares_with_nobody_ends_when_its_database_is_taken() {
    let place = place();
    let mut alone = World::start_with(|options: &mut Options| {
        options.database = place.clone();
        keys_in(&options.data);
    })
    .await;
    let coordinator = Keypair::from_secret(&KEY).public().into();
    let identity = Identity { network: network(), coordinator };
    let other = place.open(&identity).await.unwrap();
    // Whatever it decides next finds the shards gone.
    let payer = Keypair::from_secret(&[2; 32]);
    let statement = AccountStatement {
        format: 1,
        network: network(),
        account: payer.public().into(),
        recovery: Digest::ZERO,
        issued: Micros(1),
    };
    let opened = alone.post("/api/v1/accounts", payer.sign(&statement).to_bytes()).await;
    assert_eq!(opened.status(), StatusCode::SERVICE_UNAVAILABLE);
    let ended = tokio::time::timeout(PATIENCE, alone.handle.ended()).await.unwrap();
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("another coordinator took the database over"), "{error}");
    other.load().await.unwrap();
}

#[tokio::test]
async fn a_file_is_not_shared() {
    let data = tempfile::tempdir().unwrap();
    let mut options = Options::new("127.0.0.1:0".parse().unwrap(), data.path().into(), network());
    options.shared = Some("http://127.0.0.1:1".to_owned());
    let error = tallymill_coordinator::start(options).await.err().unwrap();
    assert!(matches!(error, ServiceError::Open(OpenError::Alone { .. })), "{error:?}");
}
