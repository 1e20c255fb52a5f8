//! How often and with how much: every route has its limits, and clients that pass them are told when to come back.

use reqwest::{Method, Response};
use serde_json::Value;
use tallymill_coordinator::Options;
use tallymill_coordinator::rates::{Allowance, Rate, Rates};
use tallymill_protocol::Digest;

use crate::world::{Person, World, problem};

const FEW: Rate = Rate { steady: 1, burst: 3 };
const MANY: Rate = Rate { steady: 1_000, burst: 1_000 };
const ALL: Allowance = Allowance { key: MANY, place: MANY, nowhere: MANY };

fn rated(change: impl FnOnce(&mut Rates)) -> impl FnOnce(&mut Options) {
    move |options| {
        let mut rates = Rates { login: ALL, submission: ALL, read: ALL, work: ALL, upload: ALL };
        change(&mut rates);
        options.bounds.rates = rates;
    }
}

/// Calls until one comes too often: how many were taken, and what was said then.
async fn until_refused(world: &World, who: &Person, path: &str) -> (usize, Response) {
    for taken in 0..20 {
        let told = world.get(who, path).await;
        if told.status() == 429 {
            return (taken, told);
        }
    }
    panic!("{path} is never refused");
}

#[tokio::test]
async fn a_client_that_calls_too_often_is_told_when_to_come_back_and_others_are_not() {
    let world = World::start_with(rated(|rates| rates.read.key = FEW)).await;
    let (one, other) = (world.person(2, 0).await, world.person(3, 0).await);
    let (taken, told) = until_refused(&world, &one, "/api/v1/jobs").await;
    assert!((3..=5).contains(&taken), "{taken}");
    assert_eq!(told.headers()["retry-after"], "1");
    let told = problem(told, 429).await;
    assert_eq!(
        (&told["type"], &told["limit"]),
        (&"urn:tallymill:problem:too-often".into(), &"1".into())
    );
    assert!(told["next"].as_str().unwrap().contains("Retry-After"), "{told}");
    // Another key, another class, and callers without a key.
    assert_eq!(world.get(&other, "/api/v1/jobs").await.status(), 200);
    world.upload(&one, b"bytes").await;
    let metrics = world.call(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tallymill_problems_total{kind=\"too-often\"} 1"), "{metrics}");
}

#[tokio::test]
async fn whoever_has_no_login_is_counted_by_the_address() {
    let world = World::start_with(rated(|rates| rates.read.nowhere = FEW)).await;
    let one = world.person(2, 0).await;
    let nobody = Person { token: "00".repeat(73), ..one.clone() };
    let (taken, _) = until_refused(&world, &nobody, "/api/v1/jobs").await;
    assert!((3..=5).contains(&taken), "{taken}");
    assert_eq!(world.get(&one, "/api/v1/jobs").await.status(), 200);
    // Whether it lives is told as often as somebody asks.
    for _ in 0..20 {
        assert_eq!(world.call(Method::GET, "/livez").send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_login_in_hand_gives_no_more_logins() {
    let world =
        World::start_with(rated(|rates| rates.login.nowhere = Rate { steady: 1, burst: 10 })).await;
    let one = world.person(2, 0).await;
    let mut refused = 0;
    for _ in 0..20 {
        let path = "/api/v1/login/challenge";
        let told = world.as_person(&one, Method::POST, path, b"{}".to_vec()).await;
        refused += usize::from(told.status() == 429);
    }
    assert!(refused > 5, "{refused}");
}

#[tokio::test]
async fn a_crowd_of_this_machine_is_not_limited() {
    let world = World::start().await;
    let payer = world.person(2, 0).await;
    let calls = (0..2_000).map(|_| async { world.get(&payer, "/api/v1/network").await.status() });
    let told = futures_util::future::join_all(calls).await;
    assert!(told.iter().all(|status| *status == 200));
}

/// Who may call a route with this role, and who is a host.
struct Callers {
    operator: Person,
    host: Person,
}

impl Callers {
    fn of(&self, role: &str) -> Option<&Person> {
        match role {
            "public" => None,
            "host" => Some(&self.host),
            _ => Some(&self.operator),
        }
    }
}

/// Sends a body to a route: its status, and the limit that was passed.
async fn sent(
    world: &World,
    who: Option<&Person>,
    call: (&str, &str),
    body: Vec<u8>,
) -> (u16, Value) {
    let method: Method = call.0.to_uppercase().parse().unwrap();
    let zeros = Digest::ZERO.to_string();
    let path = call.1.replace("{id}", &zeros).replace("{digest}", &zeros).replace("{task}", "0");
    let request = world.call(method, &path).body(body);
    let request = who.into_iter().fold(request, |it, who| it.bearer_auth(&who.token));
    let told = request.send().await.unwrap();
    (told.status().as_u16(), told.json().await.unwrap_or_default())
}

#[tokio::test]
async fn every_route_that_takes_a_body_refuses_one_that_is_too_long() {
    let world = World::start().await;
    let operator = world.person(1, 0).await;
    let host = world.host(3, &operator).await.person;
    let callers = Callers { operator, host };
    let path = format!("{}/api/v1/openapi.json", world.url);
    let document: Value = world.client.get(path).send().await.unwrap().json().await.unwrap();
    let mut limited = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, route) in methods.as_object().unwrap().iter().filter(|it| it.0 != "get") {
            let who = callers.of(route["x-role"].as_str().unwrap());
            // Blobs are as long as they announce, and one link needs nothing.
            let most = match route["x-max-body"].as_u64() {
                Some(most) => most,
                None if method == "put" => 4_096,
                None => {
                    assert!(route["requestBody"].is_null(), "{method} {path} has no limit");
                    continue;
                }
            };
            let long = vec![b' '; usize::try_from(most).unwrap() + 1];
            let (status, told) = sent(&world, who, (method, path), long).await;
            assert_eq!(
                (status, told["limit"].as_str()),
                (413, Some(most.to_string().as_str())),
                "{method} {path}: {told}"
            );
            limited += 1;
        }
    }
    assert!(limited >= 15, "{limited}");
}
