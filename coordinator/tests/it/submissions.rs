//! Jobs that are not taken, each with the field, the limit and the next step.

use reqwest::Method;
use serde_json::Value;
use tallymill_protocol::cbor::{Blob, List};
use tallymill_protocol::work::Verdict;
use tallymill_protocol::{
    Digest, File, Inputs, Manifest, Message as _, Network, Nonce, Policy, Signed, SignedBytes,
    TableEntry, Visibility, merkle,
};

use crate::world::{Person, World, asking, problem, receipt};

fn number(value: &Value) -> i64 {
    value.as_str().unwrap().parse().unwrap()
}

async fn refused(world: &World, who: &Person, manifest: &Manifest) -> Value {
    problem(world.submit(who, manifest).await, 400).await
}

#[tokio::test]
async fn modules_that_do_not_validate_or_import_too_much_are_named() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let honest = world.manifest(&payer, 1).await;
    let foreign = r#"(module (import "env" "rob" (func)) (memory (export "memory") 1) (func (export "_start")))"#;
    let invalid = b"\0asm\x01\0\0\0\x01\x01\xff".to_vec();
    let locals = "i64 ".repeat(1_001);
    let large = format!(
        r#"(module (memory (export "memory") 1) (func (export "_start") (local {locals})))"#
    );
    let foreign = wat::parse_str(foreign).unwrap();
    let large = wat::parse_str(large).unwrap();
    let cases = [
        (invalid, "module: ", Value::Null),
        (foreign, "rob", Value::Null),
        (large, "locals", "1000".into()),
    ];
    for (bytes, named, limit) in cases {
        let module = world.upload(&payer, &bytes).await;
        let told = refused(&world, &payer, &Manifest { module, ..honest.clone() }).await;
        assert_eq!(told["field"], "module");
        assert!(told["detail"].as_str().unwrap().contains(named), "{told}");
        assert_eq!(told["limit"], limit, "{told}");
        assert!(told["next"].as_str().unwrap().contains("tallymill run"), "{told}");
    }
    let absent = Manifest { module: Digest::of(b"absent"), ..honest.clone() };
    let told = refused(&world, &payer, &absent).await;
    assert!(told["next"].as_str().unwrap().contains("upload it"), "{told}");
}

#[tokio::test]
async fn a_manifest_of_another_network_or_with_wrong_lists_is_named() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let honest = world.manifest(&payer, 1).await;
    let elsewhere = Manifest { network: Network::new("elsewhere").unwrap(), ..honest.clone() };
    assert_eq!(refused(&world, &payer, &elsewhere).await["field"], "network");
    let inputs = Inputs::Table { root: Digest::ZERO, count: 1 << 21, blob: honest.module };
    let told = refused(&world, &payer, &Manifest { inputs, ..honest.clone() }).await;
    assert_eq!((&told["field"], &told["limit"]), (&"inputs.count".into(), &"1048576".into()));
}

#[tokio::test]
async fn a_job_for_which_too_few_owners_are_online_says_so() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let quorum = Manifest { policy: Policy::Quorum { n: 2 }, ..world.manifest(&payer, 1).await };
    // The payer's own host may not run it.
    let (own, other) = (world.host(3, &payer).await, world.person(5, 0).await);
    world.host(6, &other).await;
    world.work(&own, &asking()).await;
    let few = "needs 2 owners that are not its payer, 1 online";
    let body = payer.pair.sign(&quorum).to_bytes();
    let quote = world.as_person(&payer, Method::POST, "/api/v1/quote", body).await;
    assert_eq!(quote.json::<Value>().await.unwrap()["warnings"], serde_json::json!([few]));
    let taken: Value = world.submit(&payer, &quorum).await.json().await.unwrap();
    assert_eq!(taken["warnings"], serde_json::json!([few]));
    let why = format!("/api/v1/jobs/{}/why", taken["id"].as_str().unwrap());
    let why = world.get(&payer, &why).await.text().await.unwrap();
    assert!(why.contains(few), "{why}");
    let third = world.person(7, 0).await;
    world.host(8, &third).await;
    let more = Manifest { nonce: Nonce([9; 16]), ..quorum };
    let taken: Value = world.submit(&payer, &more).await.json().await.unwrap();
    assert_eq!(taken["warnings"], serde_json::json!([]));
}

#[tokio::test]
async fn a_job_that_is_over_is_answered_as_it_is_also_after_a_restart() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let mut host = world.host(9, &payer).await;
    let manifest = world.manifest(&payer, 1).await;
    let first: Value = world.submit(&payer, &manifest).await.json().await.unwrap();
    let token = world.lease(&host).await;
    let upload = host.upload(&token, &[receipt(&token.peek().unwrap(), b"1")], b"1");
    assert_eq!(world.report(&host, upload).await.verdicts.0, [Verdict::Settled as u8]);
    host.sequence += 1;
    let world = world.restart().await;
    let token = world.token(&payer.pair, "api").await;
    let payer = Person { token, ..payer };
    // Its module may be gone, and other keys may be used: it was taken.
    world.lose_blob(manifest.module);
    let again = world.submit(&payer, &manifest).await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    let path = format!("/api/v1/jobs/{}", first["id"].as_str().unwrap());
    let job: Value = world.get(&payer, &path).await.json().await.unwrap();
    assert_eq!((&job["state"], &job["final"]), (&"finished".into(), &1.into()), "{job}");
}

/// A manifest whose one input lies there, in a blob with one entry and three bytes.
async fn with_input(world: &World, payer: &Person, offset: u64, length: u64) -> Manifest {
    let entry = TableEntry { offset, length, digest: Digest::of(b"abc") }.to_bytes();
    let blob = world.upload(payer, &[entry.as_slice(), b"abc"].concat()).await;
    let root = merkle::root(&[merkle::leaf(&entry)]);
    let inputs = Inputs::Table { root, count: 1, blob };
    Manifest { inputs, ..world.manifest(payer, 1).await }
}

#[tokio::test]
async fn inputs_that_are_too_long_or_end_behind_their_blob_are_named() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let first = TableEntry::SIZE as u64;
    let long = with_input(&world, &payer, first, (64 << 20) + 1).await;
    let told = refused(&world, &payer, &long).await;
    assert_eq!((&told["field"], &told["limit"]), (&"inputs[0]".into(), &"67108864".into()));
    assert!(told["next"].as_str().unwrap().contains("file"), "{told}");
    for (offset, length) in [(first, 4), (first + 1, 3), (u64::MAX, 2)] {
        let behind = with_input(&world, &payer, offset, length).await;
        let told = refused(&world, &payer, &behind).await;
        assert_eq!(told["field"], "inputs[0]", "{told}");
        assert!(told["detail"].as_str().unwrap().contains("51 bytes"), "{told}");
    }
    let right = with_input(&world, &payer, first, 3).await;
    let Inputs::Table { count, blob, .. } = right.inputs else { unreachable!() };
    let other = Inputs::Table { root: Digest::ZERO, count, blob };
    let told = refused(&world, &payer, &Manifest { inputs: other, ..right.clone() }).await;
    assert_eq!(told["field"], "inputs.root");
    world.submitted(&payer, &right).await;
}

#[tokio::test]
async fn an_unknown_critical_field_is_named() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let manifest = world.manifest(&payer, 1).await;
    let mut payload = manifest.to_bytes();
    // A map of n entries in one byte or two; one more entry with key 127 and value 0.
    match payload[0] {
        0xb7 => {
            payload[0] = 0xb8;
            payload.insert(1, 24);
        }
        0xb8 => payload[1] += 1,
        _ => payload[0] += 1,
    }
    payload.extend_from_slice(&[0x18, 0x7f, 0x00]);
    let (signer, signature) = (payer.pair.public(), [0; 64]);
    let signed = Signed::<Manifest>::new(SignedBytes { payload: Blob(payload), signer, signature });
    let path = "/api/v1/jobs";
    let answer = world.as_person(&payer, Method::POST, path, signed.to_bytes()).await;
    let told = problem(answer, 400).await;
    assert_eq!(told["field"], "manifest");
    assert!(told["detail"].as_str().unwrap().contains("critical field 127"), "{told}");
}

#[tokio::test]
async fn a_job_that_cannot_be_paid_is_402_with_both_sums() {
    let world = World::start().await;
    let poor = world.person(2, 1).await;
    let mut manifest = world.manifest(&poor, 100_000).await;
    manifest.limits.fuel = 1_000_000_000;
    manifest.budget = 1 << 50;
    let told = problem(world.submit(&poor, &manifest).await, 402).await;
    let detail = told["detail"].as_str().unwrap();
    assert!(told["next"].as_str().unwrap().contains("grant"), "{told}");
    assert!(detail.contains("has 1 credits available, the job needs 100000 credits"), "{detail}");
}

#[tokio::test]
async fn an_idempotency_key_answers_the_same_and_refuses_another_body() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let manifest = world.manifest(&payer, 1).await;
    let send = |manifest: &Manifest| {
        let body = payer.pair.sign(manifest).to_bytes();
        let call = world.call(Method::POST, "/api/v1/jobs").bearer_auth(&payer.token);
        call.header("idempotency-key", "k").body(body).send()
    };
    let first: Value = send(&manifest).await.unwrap().json().await.unwrap();
    let again: Value = send(&manifest).await.unwrap().json().await.unwrap();
    assert_eq!(first, again);
    let other = Manifest { priority: 4, ..manifest.clone() };
    let told = problem(send(&other).await.unwrap(), 422).await;
    assert_eq!(told["type"], "urn:tallymill:problem:idempotency-key");
    let path = format!("/api/v1/accounts/{}", payer.pair.public());
    let credit = || async { world.get(&payer, &path).await.json::<Value>().await.unwrap() };
    let held = credit().await["reserved"].clone();
    assert_eq!(held, first["escrow"], "one job, held once");
    assert_eq!(credit().await["available"], (100_000_000 - number(&held)).to_string());
    let cancel = |reason: &str| {
        let path = format!("/api/v1/jobs/{}/cancel", first["id"].as_str().unwrap());
        let call = world.call(Method::POST, &path).bearer_auth(&payer.token);
        let body = serde_json::json!({ "reason": reason }).to_string();
        call.header("idempotency-key", "k").body(body).send()
    };
    assert_eq!(cancel("enough").await.unwrap().status(), 200, "a key is one route's");
    assert_eq!(cancel("enough").await.unwrap().status(), 200);
    problem(cancel("another").await.unwrap(), 422).await;
}

#[tokio::test]
async fn a_key_that_cancelled_one_job_does_not_answer_for_another() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let mut cancelled = Vec::new();
    for number in 1..=2 {
        let manifest = world.manifest(&payer, number).await;
        let body = payer.pair.sign(&manifest).to_bytes();
        let call = world.call(Method::POST, "/api/v1/jobs").bearer_auth(&payer.token).body(body);
        let told: Value = call.send().await.unwrap().json().await.unwrap();
        let path = format!("/api/v1/jobs/{}/cancel", told["id"].as_str().unwrap());
        let call = world.call(Method::POST, &path).bearer_auth(&payer.token);
        let call = call.header("idempotency-key", "k").body(r#"{"reason":"enough"}"#);
        cancelled.push(call.send().await.unwrap());
    }
    let other = cancelled.pop().unwrap();
    assert_eq!(cancelled[0].status(), 200);
    problem(other, 422).await;
}

#[tokio::test]
async fn nobody_gets_at_bytes_by_naming_them_in_a_job() {
    let world = World::start().await;
    let (owner, thief) = (world.person(2, 100).await, world.person(3, 100).await);
    let secret = world.upload(&owner, b"secret").await;
    let mut manifest = world.manifest(&thief, 1).await;
    let file = File { name: tallymill_protocol::cbor::Text("f".into()), blob: secret, length: 6 };
    manifest.files = List(vec![file]);
    assert_eq!(refused(&world, &thief, &manifest).await["field"], "files[0].blob");
    let path = format!("/api/v1/blobs/{secret}");
    problem(world.get(&thief, &path).await, 404).await;
    assert_eq!(world.get(&owner, &path).await.text().await.unwrap(), "secret");
    // A module of a public job is everybody's, one of a private job is not.
    let module = format!("/api/v1/blobs/{}", manifest.module);
    let stranger = world.person(4, 0).await;
    let private = world.manifest(&owner, 1).await;
    world.submitted(&owner, &Manifest { visibility: Visibility::Private, ..private.clone() }).await;
    problem(world.get(&stranger, &module).await, 404).await;
    world.submitted(&owner, &private).await;
    assert_eq!(world.get(&stranger, &module).await.status(), 200);
}

#[tokio::test]
async fn bodies_that_are_too_long_are_413_with_the_limit() {
    let world = World::start().await;
    let payer = world.person(2, 0).await;
    let bytes = vec![7; 4_097];
    let path = format!("/api/v1/blobs/{}", Digest::of(&bytes));
    let told = problem(world.as_person(&payer, Method::PUT, &path, bytes).await, 413).await;
    assert_eq!(told["limit"], "4096");
}
