//! The API's document against what the coordinator really answers.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use tallymill_protocol::Digest;

use crate::world::{Person, World, receipt};

/// The document, as served.
async fn document(world: &World) -> Value {
    let path = format!("{}/api/v1/openapi.json", world.url);
    world.client.get(path).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn the_api_document_lists_every_call_with_its_role_and_schemas() {
    let world = World::start().await;
    let document = document(&world).await;
    assert_eq!(document["openapi"], "3.1.0");
    insta::assert_json_snapshot!("openapi", document);
}

/// Fails unless `value` is what `schema` says: its type and nothing that the schema does not name.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(name.strip_prefix('#').unwrap()).unwrap();
        return fits(document, schema, value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let chosen = choices.iter().find(|choice| (choice["type"] == "null") == value.is_null());
        return fits(document, chosen.unwrap_or_else(|| panic!("{at}: {value}")), value, at);
    }
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = &schema["type"];
    let named = kinds == found || kinds.as_array().is_some_and(|k| k.contains(&found.into()));
    assert!(named, "{at}: {value} is not {kinds}");
    if let Some(choices) = schema["enum"].as_array() {
        assert!(choices.contains(value), "{at}: {value} is none of {choices:?}");
    }
    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(document, &schema["items"], item, &format!("{at}[{place}]"));
    }
    if let Some(object) = value.as_object() {
        members(document, schema, object, at);
    }
}

fn members(document: &Value, schema: &Value, object: &serde_json::Map<String, Value>, at: &str) {
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(object.contains_key(name.as_str().unwrap()), "{at}: {name} is missing");
    }
    for (name, member) in object {
        let at = format!("{at}.{name}");
        let schema = schema["properties"].get(name);
        fits(document, schema.unwrap_or_else(|| panic!("{at}: not documented")), member, &at);
    }
}

/// Asks as `who` and checks the answer against the document's schema for this call.
async fn checked(
    world: &World,
    document: &Value,
    who: &Person,
    template: &str,
    parts: &[(&str, &str)],
) -> Value {
    let mut path = template.to_owned();
    for (name, value) in parts {
        path = path.replace(&format!("{{{name}}}"), value);
    }
    let answer = world.as_person(who, Method::GET, &path, Vec::new()).await;
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    let value: Value = serde_json::from_str(&text).unwrap();
    let responses = &document["paths"][template]["get"]["responses"];
    let (name, media) = match status.is_success() {
        true => (status.as_str(), "application/json"),
        false => ("default", "application/problem+json"),
    };
    let mut response = &responses[name];
    if let Some(shared) = response["$ref"].as_str() {
        response = document.pointer(shared.strip_prefix('#').unwrap()).unwrap();
    }
    fits(document, &response["content"][media]["schema"], &value, &format!("{path} {status}"));
    value
}

/// Template of a path, its parameters, and who asks.
type Call<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a Person);

#[tokio::test]
async fn answers_are_what_the_document_says() {
    let world = World::start().await;
    let (payer, operator) = (world.person(2, 100).await, world.person(1, 0).await);
    let host = world.host(3, &payer).await;
    let job = world.submitted(&payer, &world.manifest(&payer, 2).await).await;
    let token = world.lease(&host).await;
    let upload = host.upload(&token, &[receipt(&token.peek().unwrap(), b"out")], b"out");
    assert_eq!(world.report(&host, upload).await.verdicts.0, [0]);
    let document = document(&world).await;
    let (id, who) = (payer.pair.public().to_string(), host.person.pair.public().to_string());
    let (job, task) = ([("id", job.as_str())], [("id", job.as_str()), ("task", "0")]);
    let subject = Digest::ZERO.to_string();
    let body = json!({ "kind": "module", "subject": subject, "reason": "spam" });
    let path = "/api/v1/admin/suspend";
    let done = world.as_person(&operator, Method::POST, path, body.to_string().into_bytes()).await;
    assert_eq!(done.status(), 200);
    let path = format!("/api/v1/jobs/{}/keep", job[0].1);
    let body = json!({ "reason": "a paper" }).to_string().into_bytes();
    assert_eq!(world.as_person(&payer, Method::POST, &path, body).await.status(), 200);
    let calls: [Call<'_>; 18] = [
        ("/api/v1/network", &[], &payer),
        ("/api/v1/accounts/{id}", &[("id", &id)], &payer),
        ("/api/v1/accounts/{id}/statement", &[("id", &id)], &payer),
        ("/api/v1/accounts/{id}/keys", &[("id", &id)], &payer),
        ("/api/v1/journal", &[], &payer),
        ("/api/v1/suspensions", &[], &payer),
        ("/api/v1/hosts", &[], &payer),
        ("/api/v1/hosts/{id}", &[("id", &who)], &payer),
        ("/api/v1/jobs", &[], &payer),
        ("/api/v1/jobs/{id}", &job, &payer),
        ("/api/v1/jobs/{id}/why", &job, &payer),
        ("/api/v1/jobs/{id}/holds", &job, &payer),
        ("/api/v1/jobs/{id}/tasks", &job, &payer),
        ("/api/v1/jobs/{id}/tasks/{task}", &task, &payer),
        ("/api/v1/jobs/{id}/results", &job, &payer),
        ("/api/v1/jobs/{id}/receipts/{task}", &task, &payer),
        ("/api/v1/admin/audit", &[], &operator),
        ("/api/v1/admin/audit", &[], &payer),
    ];
    let mut answers = BTreeMap::new();
    for (template, parts, who) in calls {
        let answer = checked(&world, &document, who, template, parts).await;
        answers.insert(template, answer);
    }
    // Not empty, so that what lists hold was checked too.
    let lists = [
        "statement",
        "keys",
        "journal",
        "suspensions",
        "hosts",
        "jobs",
        "tasks",
        "results",
        "holds",
    ];
    for list in lists {
        let (_, answer) = answers.iter().find(|(path, _)| path.ends_with(list)).unwrap();
        assert!(!answer["items"].as_array().unwrap().is_empty(), "{list}");
    }
    assert!(!answers["/api/v1/jobs/{id}/tasks/{task}"]["replicas"][0]["log"].is_null());
}
