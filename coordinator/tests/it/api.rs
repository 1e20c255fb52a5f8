//! A coordinator on a free port, asked over HTTP as clients ask it.

use reqwest::Method;
use tallymill_protocol::cbor::Text;
use tallymill_protocol::work::MAX_REQUEST;
use tallymill_protocol::{Keypair, Message};

use crate::world::{World, problem};

#[tokio::test]
async fn a_relayed_or_reused_challenge_is_refused() {
    let world = World::start().await;
    let mut login = world.challenge(&world.operator, "api").await;
    login.origin = Text("http://elsewhere".into());
    let relayed = world.post("/api/v1/login", world.operator.sign(&login).to_bytes()).await;
    assert!(problem(relayed, 401).await["detail"].as_str().unwrap().contains("origin"));
    let login = world.challenge(&world.operator, "api").await;
    let body = world.operator.sign(&login).to_bytes();
    assert_eq!(world.post("/api/v1/login", body.clone()).await.status(), 200);
    problem(world.post("/api/v1/login", body).await, 401).await;
}

#[tokio::test]
async fn a_call_without_version_is_426_and_without_token_401() {
    let world = World::start().await;
    let path = format!("{}/api/v1/network", world.url);
    problem(world.client.get(path).send().await.unwrap(), 426).await;
    problem(world.call(Method::GET, "/api/v1/jobs").send().await.unwrap(), 401).await;
    let forged = world.call(Method::GET, "/api/v1/jobs").bearer_auth("00").send().await.unwrap();
    problem(forged, 401).await;
    let key = Keypair::from_secret(&[9; 32]);
    let token = world.token(&key, "api").await;
    let stranger = world.call(Method::GET, "/api/v1/jobs").bearer_auth(token).send().await.unwrap();
    problem(stranger, 403).await;
    problem(world.call(Method::GET, "/api/v1/nothing").send().await.unwrap(), 404).await;
}

#[tokio::test]
async fn pages_escape_what_people_wrote_and_run_no_script() {
    let world = World::start().await;
    let page = world.client.get(&world.url).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let html = page.text().await.unwrap();
    assert!(html.contains("&#60;b&#62;net"), "{html}");
    assert!(!html.contains("<b>net"));
}

#[tokio::test]
async fn shutdown_ends() {
    let world = World::start().await;
    world.handle.shutdown().await.unwrap();
}

#[tokio::test]
async fn errors_of_the_server_itself_are_problem_documents_too() {
    let world = World::start().await;
    let payer = world.person(2, 0).await;
    let long = vec![b' '; MAX_REQUEST + 1];
    let told = world.as_person(&payer, Method::POST, "/api/v1/quote", long).await;
    let told = problem(told, 413).await;
    assert_eq!((&told["field"], &told["limit"]), (&"body".into(), &MAX_REQUEST.to_string().into()));
    assert!(told["next"].as_str().unwrap().contains("blobs"), "{told}");
    let wrong = world.call(Method::DELETE, "/api/v1/jobs").send().await.unwrap();
    let allowed = wrong.headers()["allow"].to_str().unwrap().to_owned();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    let told = problem(wrong, 405).await;
    assert!(told["next"].as_str().unwrap().contains("Allow"), "{told}");
    let unreadable = world.get(&payer, "/api/v1/jobs/%ff").await;
    assert!(problem(unreadable, 400).await["detail"].as_str().unwrap().contains("UTF-8"));
}

#[tokio::test]
async fn parameters_that_are_wrong_are_named() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let job = world.submitted(&payer, &world.manifest(&payer, 1).await).await;
    let cases = [
        ("/api/v1/jobs?paier=x", "paier"),
        ("/api/v1/jobs?after=1&after=2", "after"),
        ("/api/v1/jobs?after=x", "after"),
        ("/api/v1/jobs?limit=0", "limit"),
        ("/api/v1/jobs?limit=1001", "limit"),
        ("/api/v1/jobs?state=asleep", "state"),
        ("/api/v1/jobs?payer=x", "payer"),
        ("/api/v1/hosts?payer=x", "payer"),
        ("/api/v1/events?topic=network", "topic"),
        ("/api/v1/jobs/x", "id"),
        ("/api/v1/jobs/JOB/tasks/x", "task"),
        ("/api/v1/jobs/JOB/tasks/-1/output", "task"),
        ("/api/v1/jobs/JOB/receipts/4294967296", "task"),
    ];
    for (path, field) in cases {
        let told = problem(world.get(&payer, &path.replace("JOB", &job)).await, 400).await;
        assert_eq!(told["field"], field, "{path}: {told}");
    }
}
