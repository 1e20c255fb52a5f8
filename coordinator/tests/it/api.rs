//! A coordinator on a free port, asked over HTTP as clients ask it.

use reqwest::Method;
use tallymill_protocol::cbor::Text;
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
