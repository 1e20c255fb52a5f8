//! What operators did, what is suspended, and the log of keys: everybody reads them, a part at a time.

use reqwest::Method;
use serde_json::{Value, json};
use tallymill_engine::Admission;
use tallymill_protocol::{Digest, Keypair, Message as _, Micros, Rotation, Signed};

use crate::world::{World, network, problem};

/// Everything that a list holds, `limit` at a time, read by somebody who is not logged in.
async fn all(world: &World, path: &str, limit: u32) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let part = world.call(Method::GET, &format!("{path}?limit={limit}{after}"));
        let part: Value = part.send().await.unwrap().json().await.unwrap();
        let Some(next) = part["next"].as_str() else { return items };
        after = format!("&after={next}");
        let some = part["items"].as_array().unwrap();
        assert!(some.len() <= limit as usize);
        items.extend(some.iter().cloned());
    }
}

#[tokio::test]
async fn everybody_reads_what_operators_did_and_what_is_suspended() {
    let world = World::start().await;
    let (payer, operator) = (world.person(2, 7).await, world.person(1, 0).await);
    let account = payer.pair.public().to_string();
    let act = async |path: &str, kind: &str, subject: &str| {
        let body = json!({ "kind": kind, "subject": subject, "reason": format!("{kind}: spam") });
        let path = format!("/api/v1/admin/{path}");
        let done =
            world.as_person(&operator, Method::POST, &path, body.to_string().into_bytes()).await;
        assert_eq!(done.status(), 200);
    };
    let module = Digest::of(b"module").to_string();
    act("suspend", "module", &module).await;
    act("suspend", "account", &account).await;
    act("suspend", "host", &account).await;
    act("lift", "host", &account).await;
    let acts = all(&world, "/api/v1/journal", 2).await;
    let told = |act: &Value| {
        ["action", "subject", "reason"].map(|field| act[field].as_str().unwrap().to_owned())
    };
    let acts: Vec<_> = acts.iter().map(told).collect();
    let act = |action: &str, kind: &str, id: &str| {
        [action.to_owned(), format!("{kind} {id}"), format!("{kind}: spam")]
    };
    let granted = ["grant".to_owned(), account.clone(), acts[0][2].clone()];
    assert!(granted[2].contains('7'), "{granted:?}");
    assert_eq!(
        acts,
        [
            granted,
            act("suspend", "module", &module),
            act("suspend", "account", &account),
            act("suspend", "host", &account),
            act("lift", "host", &account),
        ]
    );
    let suspended = all(&world, "/api/v1/suspensions", 1).await;
    let suspended: Vec<_> = suspended.iter().map(|one| (&one["kind"], &one["subject"])).collect();
    assert_eq!(
        suspended,
        [(&json!("account"), &json!(account)), (&json!("module"), &json!(module))]
    );
    let wrong = world.call(Method::GET, "/api/v1/suspensions?after=module").send().await.unwrap();
    assert_eq!(problem(wrong, 400).await["field"], "after");
}

#[tokio::test]
async fn a_key_of_an_operators_act_answers_the_same_and_refuses_another_body() {
    let world = World::start_with(|options| options.admission = Admission::Approved).await;
    let (payer, operator) = (world.person(2, 0).await, world.person(1, 0).await);
    let account = payer.pair.public().to_string();
    let act = async |path: &str, body: &Value| {
        let call = world.call(Method::POST, &format!("/api/v1/admin/{path}"));
        let call = call.bearer_auth(&operator.token).header("idempotency-key", "k");
        call.body(body.to_string()).send().await.unwrap()
    };
    let suspension = json!({ "kind": "account", "subject": account, "reason": "spam" });
    let acts = [
        ("approve", json!({ "account": account })),
        ("suspend", suspension.clone()),
        ("lift", suspension),
    ];
    for (path, body) in &acts {
        assert_eq!(act(path, body).await.status(), 200, "{path}");
    }
    // A lifting that is done again would be refused, a suspension would begin again.
    for (path, body) in &acts {
        let again = act(path, body).await;
        assert_eq!(again.status(), 200, "{path}");
        assert_eq!(again.json::<Value>().await.unwrap()["subject"], account, "{path}");
        let mut other = body.clone();
        let field = if *path == "approve" { "account" } else { "reason" };
        other[field] = json!(operator.pair.public().to_string());
        let told = problem(act(path, &other).await, 422).await;
        assert_eq!(told["type"], "urn:tallymill:problem:idempotency-key", "{path}");
    }
    let acts = all(&world, "/api/v1/journal", 9).await;
    let acts: Vec<_> = acts.iter().map(|act| act["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["approve", "suspend", "lift"]);
    assert!(all(&world, "/api/v1/suspensions", 9).await.is_empty());
}

#[tokio::test]
async fn everybody_reads_the_log_of_an_accounts_keys() {
    let world = World::start().await;
    let payer = world.person(2, 0).await;
    world.host(3, &payer).await;
    let account = payer.pair.public();
    let rotation = Rotation {
        format: 1,
        network: network(),
        account: account.into(),
        key: Keypair::from_secret(&[8; 32]).public(),
        recovery: Digest::of(b"recovery"),
        sequence: 1,
        issued: Micros(1),
    };
    let signed = payer.pair.sign(&rotation).to_bytes();
    let path = format!("/api/v1/accounts/{account}/rotate");
    let rotated = world.as_person(&payer, Method::POST, &path, signed.clone()).await;
    assert_eq!(rotated.status(), 200);
    let log = all(&world, &format!("/api/v1/accounts/{account}/keys"), 2).await;
    let kinds: Vec<_> = log.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["account", "host-binding", "rotation"]);
    let statement = decoded(log[2]["statement"].as_str().unwrap());
    assert_eq!(statement, signed);
    let opened = Signed::<Rotation>::from_bytes(&statement).unwrap().open(&account).unwrap();
    assert_eq!(opened, rotation);
    let nobody = format!("/api/v1/accounts/{}/keys", Digest::of(b"nobody"));
    problem(world.call(Method::GET, &nobody).send().await.unwrap(), 404).await;
}

/// Bytes of standard base64.
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|byte| *byte != b'=');
    let bits = digits.map(|byte| DIGITS.iter().position(|digit| *digit == byte).unwrap());
    let (mut bytes, mut word, mut held) = (Vec::new(), 0, 0);
    for six in bits {
        (word, held) = (word << 6 | six, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(word >> held & 255).unwrap());
        }
    }
    bytes
}
