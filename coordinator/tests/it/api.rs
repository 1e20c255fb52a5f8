//! A coordinator on a free port, asked over HTTP as clients ask it.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tallymill_coordinator::{Handle, Options};
use tallymill_protocol::cbor::Text;
use tallymill_protocol::{Keypair, Login, Message, Micros, Network, Nonce};

struct World {
    handle: Handle,
    url: String,
    client: reqwest::Client,
    operator: Keypair,
    _data: tempfile::TempDir,
}

fn network() -> Network {
    Network::new("test <b>net</b>").unwrap()
}

impl World {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let operator = Keypair::from_secret(&[1; 32]);
        let mut options =
            Options::new("127.0.0.1:0".parse().unwrap(), data.path().to_owned(), network());
        options.operators = vec![operator.public().into()];
        options.bounds.blob = 64;
        let handle = tallymill_coordinator::start(options).await.unwrap();
        let url = format!("http://{}", handle.addr);
        Self { handle, url, client: reqwest::Client::new(), operator, _data: data }
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).header("tallymill-protocol", "1")
    }

    async fn challenge(&self, pair: &Keypair) -> Login {
        let ask = json!({ "key": pair.public().to_string(), "purpose": "api" }).to_string();
        let asked = self.call(Method::POST, "/api/v1/login/challenge").body(ask).send();
        let asked: Value = asked.await.unwrap().json().await.unwrap();
        Login {
            format: 1,
            audience: self.handle.key,
            origin: Text(self.url.clone()),
            purpose: Text("api".into()),
            nonce: asked["nonce"].as_str().unwrap().parse::<Nonce>().unwrap(),
            expiry: Micros(asked["expiry"].as_str().unwrap().parse().unwrap()),
            signer: pair.public(),
        }
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> Response {
        self.call(Method::POST, path).body(body).send().await.unwrap()
    }

    async fn token(&self, pair: &Keypair) -> String {
        let login = self.challenge(pair).await;
        let answer = self.post("/api/v1/login", pair.sign(&login).to_bytes()).await;
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned()
    }
}

async fn problem(response: Response, status: u16) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_relayed_or_reused_challenge_is_refused() {
    let world = World::start().await;
    let mut login = world.challenge(&world.operator).await;
    login.origin = Text("http://elsewhere".into());
    let relayed = world.post("/api/v1/login", world.operator.sign(&login).to_bytes()).await;
    assert!(problem(relayed, 401).await["detail"].as_str().unwrap().contains("origin"));
    let login = world.challenge(&world.operator).await;
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
    let token = world.token(&key).await;
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
async fn the_api_document_lists_every_route_once_with_its_role() {
    let world = World::start().await;
    let document: Value = world
        .client
        .get(format!("{}/api/v1/openapi.json", world.url))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    insta::assert_json_snapshot!("openapi", document);
}

#[tokio::test]
async fn shutdown_ends() {
    let world = World::start().await;
    world.handle.shutdown().await.unwrap();
}
