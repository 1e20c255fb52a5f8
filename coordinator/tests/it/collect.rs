//! Results and blobs whose time is over, as people see it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tallymill_coordinator::Retention;
use tallymill_coordinator::backup::{back_up, restore};
use tallymill_protocol::work::ReportUpload;
use tallymill_protocol::{Digest, Keypair, Manifest, Micros, Nonce};
use tallymill_storage::Identity;

use crate::failing::Failing;
use crate::world::{Person, Worker, World, network, problem, receipt};

const AT_ONCE: Retention = Retention { results: Some(0), uploads: 7 * Micros::DAY };

/// Waits until what a job says of itself is so.
async fn until(world: &World, who: &Person, job: &str, is: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let shown: Value =
            world.get(who, &format!("/api/v1/jobs/{job}")).await.json().await.unwrap();
        if is(&shown) {
            return shown;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{shown}");
    }
}

async fn collected(world: &World, who: &Person, job: &str) -> Value {
    until(world, who, job, |shown| shown["collected"].is_string()).await
}

/// A job of one task, not yet run.
async fn submitted(world: &World, payer: &Person, number: u8) -> (String, Manifest) {
    let manifest = Manifest { nonce: Nonce([number; 16]), ..world.manifest(payer, 1).await };
    (world.submitted(payer, &manifest).await, manifest)
}

/// Runs the next task there is.
async fn run(world: &World, host: &mut Worker) -> ReportUpload {
    let token = world.lease(host).await;
    let upload = host.upload(&token, &[receipt(&token.peek().unwrap(), b"out")], b"out");
    assert_eq!(world.report(host, upload.clone()).await.verdicts.0, [0]);
    host.previous = upload.report.peek().unwrap().digest();
    host.sequence += 1;
    upload
}

async fn post(
    world: &World,
    who: &Person,
    job: &str,
    verb: &str,
    body: Value,
) -> reqwest::Response {
    let path = format!("/api/v1/jobs/{job}/{verb}");
    world.as_person(who, Method::POST, &path, body.to_string().into_bytes()).await
}

#[tokio::test]
async fn results_whose_time_is_over_are_gone_and_the_job_says_so() {
    let world = World::start_with(|options| options.retention = AT_ONCE).await;
    let payer = world.person(2, 100).await;
    let mut host = world.host(9, &payer).await;
    let (job, _) = submitted(&world, &payer, 1).await;
    let upload = run(&world, &mut host).await;
    let shown = collected(&world, &payer, &job).await;
    let totals = (&shown["state"], &shown["final"], &shown["collects"], &shown["held"]);
    assert_eq!(totals, (&json!("finished"), &json!(1), &Value::Null, &json!(false)));
    assert_ne!(shown["spent"], "0");
    for path in ["tasks", "tasks/0", "tasks/0/output", "tasks/0/log", "results", "receipts/0"] {
        let told =
            problem(world.get(&payer, &format!("/api/v1/jobs/{job}/{path}")).await, 410).await;
        assert_eq!(told["type"], "urn:tallymill:problem:collected", "{path}");
        assert!(told["detail"].as_str().unwrap().contains("collected at 20"), "{told}");
    }
    let late = post(&world, &payer, &job, "keep", json!({ "reason": "late" })).await;
    problem(late, 410).await;
    for path in ["manifest", "keys", "why"] {
        let answer = world.get(&payer, &format!("/api/v1/jobs/{job}/{path}")).await;
        assert_eq!(answer.status(), 200, "{path}");
    }
    let page = world.client.get(format!("{}/jobs/{job}", world.url)).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("results of this job were collected"));
    let page = world.client.get(format!("{}/jobs/{job}/tasks/0", world.url)).send().await.unwrap();
    assert_eq!(page.status(), 410);
    let again = world.report(&host, upload).await;
    assert_eq!(again.verdicts.0, [0], "a replay is answered as before");
    books_add_up(&world).await;
}

/// With nothing left of a job the ledger, a backup and what it verifies are as before.
async fn books_add_up(world: &World) {
    let operator = world.person(1, 0).await;
    let audit: Value = world.get(&operator, "/api/v1/admin/audit").await.json().await.unwrap();
    assert_eq!(audit["offences"], json!([]), "{audit}");
    let folder = tempfile::tempdir().unwrap();
    let options = |data: &std::path::Path| {
        let listen = "127.0.0.1:0".parse().unwrap();
        tallymill_coordinator::Options::new(listen, data.to_owned(), network())
    };
    let began = Instant::now();
    for number in 0.. {
        let [into, data] = ["backup", "data"].map(|it| folder.path().join(format!("{it}{number}")));
        back_up(&options(world.data()), &into, true).await.unwrap();
        // It holds after every step, whatever is left.
        let verified = restore(&into, &options(&data), true).await.unwrap().1.unwrap();
        assert!(verified.transfers > 0 && verified.reports + verified.collected == 1);
        if verified.collected == 1 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

#[tokio::test]
async fn results_that_somebody_keeps_stay_until_they_are_released() {
    let world = World::start_with(|options| options.retention = AT_ONCE).await;
    let (payer, stranger) = (world.person(2, 100).await, world.person(5, 0).await);
    let operator = world.person(1, 0).await;
    let mut host = world.host(9, &payer).await;
    let (kept, _) = submitted(&world, &payer, 1).await;
    let why = json!({ "reason": "a paper" });
    problem(post(&world, &stranger, &kept, "keep", why.clone()).await, 403).await;
    assert_eq!(post(&world, &payer, &kept, "keep", why.clone()).await.status(), 200);
    assert_eq!(post(&world, &operator, &kept, "keep", why).await.status(), 200);
    run(&world, &mut host).await;
    let (other, _) = submitted(&world, &payer, 2).await;
    run(&world, &mut host).await;
    collected(&world, &payer, &other).await;
    let shown = until(&world, &payer, &kept, |_| true).await;
    assert_eq!((&shown["held"], &shown["collected"]), (&json!(true), &Value::Null));
    let output = world.get(&payer, &format!("/api/v1/jobs/{kept}/tasks/0/output")).await;
    assert_eq!(output.bytes().await.unwrap(), &b"out"[..]);
    let path = format!("/api/v1/jobs/{kept}/holds");
    let holds: Value = world.get(&payer, &path).await.json().await.unwrap();
    let kinds: Vec<_> =
        holds["items"].as_array().unwrap().iter().map(|hold| &hold["kind"]).collect();
    assert_eq!(kinds, ["operator", "payer"]);
    assert_eq!(post(&world, &payer, &kept, "release", Value::Null).await.status(), 200);
    let shown = until(&world, &payer, &kept, |_| true).await;
    assert_eq!(shown["held"], true, "the operator keeps them still");
    assert_eq!(post(&world, &operator, &kept, "release", Value::Null).await.status(), 200);
    collected(&world, &payer, &kept).await;
}

#[tokio::test]
async fn a_job_says_when_its_results_may_go() {
    let day = Retention { results: Some(Micros::DAY), uploads: Micros::DAY };
    let world = World::start_with(|options| options.retention = day).await;
    let payer = world.person(2, 100).await;
    let mut host = world.host(9, &payer).await;
    let (job, _) = submitted(&world, &payer, 1).await;
    let shown = until(&world, &payer, &job, |_| true).await;
    assert_eq!(shown["collects"], Value::Null, "it is not over");
    run(&world, &mut host).await;
    let shown = until(&world, &payer, &job, |_| true).await;
    let at = |field: &str| shown[field].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(at("collects"), at("finished") + Micros::DAY);
    let page = world.client.get(format!("{}/jobs/{job}", world.url)).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("tallymill job keep"));
}

#[tokio::test]
async fn blobs_of_collected_jobs_go_and_their_room_is_free_again() {
    let world = World::start_with(|options| options.retention = AT_ONCE).await;
    let payer = world.person(2, 100).await;
    let mut host = world.host(9, &payer).await;
    let (job, manifest) = submitted(&world, &payer, 1).await;
    run(&world, &mut host).await;
    collected(&world, &payer, &job).await;
    let file = world.data().join("blobs").join(manifest.module.to_string());
    assert!(file.exists(), "it was uploaded a moment ago");
    let soon = Retention { results: Some(0), uploads: 0 };
    let room = std::fs::metadata(&file).unwrap().len();
    let world = world
        .restart_with(|options| {
            options.retention = soon;
            options.bounds.account_bytes = room;
        })
        .await;
    let began = Instant::now();
    while file.exists() {
        assert!(began.elapsed() < Duration::from_secs(60));
        world.call(Method::GET, "/livez").send().await.unwrap();
    }
    let payer = Person { token: world.token(&payer.pair, "api").await, ..payer };
    let gone = world.get(&payer, &format!("/api/v1/blobs/{}", manifest.module)).await;
    problem(gone, 404).await;
    world.upload(&payer, &vec![7; usize::try_from(room).unwrap()]).await;
}

/// Who asks at that moment must not take what is left for all there is.
#[tokio::test]
async fn results_that_go_while_they_are_read_are_not_told_by_halves() {
    for path in ["tasks", "tasks/0/output", "results", "receipts/0"] {
        let key = Keypair::from_secret(&[40; 32]);
        let identity = Identity { network: network(), coordinator: key.public().into() };
        let store = Arc::new(Failing::new(&identity));
        let world = World::on(key, Arc::<Failing>::clone(&store)).await;
        let payer = world.person(2, 100).await;
        let mut host = world.host(9, &payer).await;
        let (job, _) = submitted(&world, &payer, 1).await;
        run(&world, &mut host).await;
        let path = format!("/api/v1/jobs/{job}/{path}");
        assert_eq!(world.get(&payer, &path).await.status(), 200);
        store.collects.store(true, Ordering::Release);
        problem(world.get(&payer, &path).await, 410).await;
    }
}

/// Results may begin to go before the hold is committed: then it keeps nothing.
#[tokio::test]
async fn who_keeps_results_too_late_is_told() {
    let key = Keypair::from_secret(&[40; 32]);
    let identity = Identity { network: network(), coordinator: key.public().into() };
    let store = Arc::new(Failing::new(&identity));
    let world = World::on(key, Arc::<Failing>::clone(&store)).await;
    let payer = world.person(2, 100).await;
    let mut host = world.host(9, &payer).await;
    let (job, _) = submitted(&world, &payer, 1).await;
    run(&world, &mut host).await;
    store.collects.store(true, Ordering::Release);
    problem(post(&world, &payer, &job, "keep", json!({ "reason": "late" })).await, 410).await;
}

/// It is looked at before it is there again for certain; what goes in between would be missing afterwards.
#[tokio::test]
async fn a_blob_that_is_being_uploaded_again_stays() {
    let short = Retention { results: None, uploads: 3 * Micros::SECOND };
    let world = World::start_with(|options| options.retention = short).await;
    let payer = world.person(2, 0).await;
    let file = |digest: Digest| world.data().join("blobs").join(digest.to_string());
    let again = world.upload(&payer, b"again").await;
    let (parts, body) = tokio::sync::mpsc::channel(1);
    let body = tokio_stream::wrappers::ReceiverStream::new(body);
    let path = format!("/api/v1/blobs/{again}");
    let put =
        world.call(Method::PUT, &path).bearer_auth(&payer.token).header("content-length", "5");
    let put = tokio::spawn(put.body(reqwest::Body::wrap_stream(body)).send());
    parts.send(Ok::<_, std::io::Error>("aga")).await.unwrap();
    let other = world.upload(&payer, b"other").await;
    let began = Instant::now();
    while file(other).exists() {
        assert!(began.elapsed() < Duration::from_secs(60));
        world.call(Method::GET, "/livez").send().await.unwrap();
    }
    assert!(file(again).exists(), "it is older than the other one");
    parts.send(Ok("in")).await.unwrap();
    drop(parts);
    assert_eq!(put.await.unwrap().unwrap().status(), 201);
    assert_eq!(world.get(&payer, &path).await.bytes().await.unwrap(), &b"again"[..]);
}
