//! What is shown to whom and when: outputs, private jobs, events; and that a stop keeps nobody waiting.

use reqwest::{Method, Response};
use serde_json::Value;
use tallymill_protocol::work::{WorkReply, WorkRequest};
use tallymill_protocol::{Digest, Manifest, Message as _, Outcome, Receipt, Visibility};

use crate::world::{Person, World, asking, problem, receipt};

#[tokio::test]
async fn an_output_is_nobodys_until_its_task_is_decided() {
    let world = World::start().await;
    let (payer, stranger) = (world.person(2, 100).await, world.person(5, 0).await);
    let host = world.host(3, &payer).await;
    let job = world.submitted(&payer, &world.manifest(&payer, 1).await).await;
    let token = world.lease(&host).await;
    let digest = world.upload(&host.person, b"large").await;
    let path = format!("/api/v1/jobs/{job}/tasks/0/output");
    for hidden in [&path, &format!("/api/v1/blobs/{digest}")] {
        problem(world.get(&payer, hidden).await, 404).await;
    }
    let mut upload = host.upload(&token, &[receipt(&token.peek().unwrap(), b"large")], b"large");
    upload.outputs.0[0].0.clear();
    assert_eq!(world.report(&host, upload).await.verdicts.0, [0]);
    let read = world.get(&stranger, &path).await.bytes().await.unwrap();
    assert_eq!(Digest::of(&read), digest);
}

#[tokio::test]
async fn when_a_host_was_heard_of_is_told_to_the_second_though_it_is_written_rarely() {
    let world = World::start().await;
    let owner = world.person(2, 0).await;
    let host = world.host(3, &owner).await;
    let path = format!("/api/v1/hosts/{}", host.person.pair.public());
    let seen = |shown: &Value| shown["seen"].as_str().unwrap().parse::<u64>().unwrap();
    let joined = seen(&world.get(&owner, &path).await.json().await.unwrap());
    world.work(&host, &asking()).await;
    let called = seen(&world.get(&owner, &path).await.json().await.unwrap());
    assert!(called > joined, "{called} {joined}");
    let listed: Value = world.get(&owner, "/api/v1/hosts").await.json().await.unwrap();
    assert_eq!(seen(&listed["items"][0]), called);
}

#[tokio::test]
async fn a_long_log_is_read_by_the_payer_alone_once_its_task_is_decided() {
    let world = World::start().await;
    let (payer, stranger) = (world.person(2, 100).await, world.person(5, 0).await);
    let host = world.host(3, &payer).await;
    let job = world.submitted(&payer, &world.manifest(&payer, 1).await).await;
    let token = world.lease(&host).await;
    let digest = world.upload(&host.person, b"what went on").await;
    let path = format!("/api/v1/jobs/{job}/tasks/0/log");
    problem(world.get(&payer, &path).await, 404).await;
    let told = Receipt { log: digest, ..receipt(&token.peek().unwrap(), b"") };
    let upload = host.upload(&token, &[told], b"");
    assert_eq!(world.report(&host, upload).await.verdicts.0, [0]);
    let task = world.get(&payer, &format!("/api/v1/jobs/{job}/tasks/0")).await;
    let replica = &task.json::<Value>().await.unwrap()["replicas"][0];
    assert_eq!(
        (&replica["log"], &replica["log_inline"]),
        (&digest.to_string().into(), &Value::Null)
    );
    let named = format!("{path}?host={}", host.person.pair.public());
    for path in [&path, &named] {
        assert_eq!(world.get(&payer, path).await.text().await.unwrap(), "what went on");
        problem(world.get(&stranger, path).await, 403).await;
    }
    let part = world.call(Method::GET, &path).bearer_auth(&payer.token).header("range", "bytes=5-");
    let part = part.send().await.unwrap();
    assert_eq!(
        (part.status(), part.text().await.unwrap().as_str()),
        (206.try_into().unwrap(), "went on")
    );
    let other = format!("{path}?host={}", payer.pair.public());
    problem(world.get(&payer, &other).await, 404).await;
}

#[tokio::test]
async fn a_page_says_once_why_a_task_failed() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let host = world.host(3, &payer).await;
    let job = world.submitted(&payer, &world.manifest(&payer, 1).await).await;
    let token = world.lease(&host).await;
    let failed = Receipt { outcome: Outcome::Exited(3), ..receipt(&token.peek().unwrap(), b"") };
    assert_eq!(world.report(&host, host.upload(&token, &[failed], b"")).await.verdicts.0, [0]);
    for path in [format!("/jobs/{job}"), format!("/jobs/{job}/tasks/0")] {
        let page = world.get(&payer, &path).await.text().await.unwrap();
        assert!(page.contains("code 3"), "{page}");
        assert!(!page.contains("code 3: exited"), "{page}");
    }
}

#[tokio::test]
async fn a_private_job_shows_its_title_to_its_payer_alone() {
    let world = World::start().await;
    let (payer, stranger) = (world.person(2, 100).await, world.person(5, 0).await);
    let manifest = world.manifest(&payer, 1).await;
    let private = Manifest { visibility: Visibility::Private, ..manifest };
    let job = world.submitted(&payer, &private).await;
    let paths = ["/jobs".to_owned(), format!("/jobs/{job}")];
    for path in paths {
        let theirs = world.get(&stranger, &path).await.text().await.unwrap();
        assert!(theirs.contains(&job[..10]) && !theirs.contains("&#60;i&#62;job"), "{theirs}");
        let own = world.get(&payer, &path).await.text().await.unwrap();
        assert!(own.contains("a &#60;i&#62;job&#60;/i&#62;") && !own.contains("<i>"), "{own}");
    }
    problem(world.get(&stranger, &format!("/api/v1/jobs/{job}/why")).await, 403).await;
    let task = world.get(&stranger, &format!("/jobs/{job}/tasks/0")).await;
    assert_eq!(task.status(), 403);
}

#[tokio::test]
async fn a_host_reads_of_a_private_job_only_while_it_holds_a_lease() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let (host, other) = (world.host(3, &payer).await, world.host(4, &payer).await);
    let manifest = world.manifest(&payer, 1).await;
    let private = Manifest { visibility: Visibility::Private, ..manifest };
    let job = world.submitted(&payer, &private).await;
    let paths = [
        (format!("/api/v1/jobs/{job}/manifest"), 403),
        (format!("/api/v1/blobs/{}", private.module), 404),
    ];
    let token = world.lease(&host).await;
    for (path, status) in &paths {
        problem(world.get(&other.person, path).await, *status).await;
        assert_eq!(world.get(&host.person, path).await.status(), 200, "{path}");
    }
    let upload = host.upload(&token, &[receipt(&token.peek().unwrap(), b"out")], b"out");
    assert_eq!(world.report(&host, upload).await.verdicts.0, [0]);
    for (path, status) in &paths {
        problem(world.get(&host.person, path).await, *status).await;
    }
}

/// The next events of a stream that are about something, with their ids.
async fn changes(stream: &mut Response, buffer: &mut String, count: usize) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    while found.len() < count {
        if let Some((frame, rest)) =
            buffer.split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned()))
        {
            *buffer = rest;
            let field = |name: &str| {
                frame
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                    .map(str::trim)
            };
            found.extend(
                field("id").map(|id| (id.parse().unwrap(), field("data").unwrap().to_owned())),
            );
            continue;
        }
        let chunk = stream.chunk().await.unwrap().expect("the stream ended");
        buffer.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    found
}

async fn grant(world: &World, to: &Person) {
    let operator = world.person(1, 0).await;
    let body = serde_json::json!({ "to": to.pair.public().to_string(), "amount": "1" }).to_string();
    let path = "/api/v1/admin/grant";
    let granted = world.as_person(&operator, Method::POST, path, body.into_bytes()).await;
    assert_eq!(granted.status(), 200);
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_event_seen_and_loses_none() {
    let world = World::start().await;
    let (payer, other) = (world.person(2, 0).await, world.person(3, 0).await);
    let path = format!("/api/v1/events?topics=account:{}", payer.pair.public());
    let open = || world.call(Method::GET, &path).bearer_auth(&payer.token);
    let (mut whole, mut buffer) = (open().send().await.unwrap(), String::new());
    for _ in 0..3 {
        grant(&world, &payer).await;
        grant(&world, &other).await;
    }
    let seen = changes(&mut whole, &mut buffer, 3).await;
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "{seen:?}");
    let resumed = open().header("last-event-id", seen[0].0.to_string()).send();
    let (mut resumed, mut rest) = (resumed.await.unwrap(), String::new());
    assert_eq!(changes(&mut resumed, &mut rest, 2).await, seen[1..]);
    grant(&world, &payer).await;
    let next = changes(&mut whole, &mut buffer, 1).await;
    assert!(next[0].0 > seen[2].0);
    assert_eq!(changes(&mut resumed, &mut rest, 1).await, next);
    problem(world.get(&other, &path).await, 403).await;
}

#[tokio::test]
async fn a_stop_ends_long_polls_and_streams_that_resume_where_they_were() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let host = world.host(3, &payer).await;
    let stream = |last: &str| {
        let call = world.call(Method::GET, "/api/v1/events").bearer_auth(&payer.token);
        call.header("last-event-id", last.to_owned()).send()
    };
    let mut events = stream("999999").await.unwrap();
    let text = String::from_utf8(events.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(text.contains("event: reset") || text.contains("event:reset"), "{text}");
    let body = WorkRequest { wait: 30_000, ..asking() }.to_bytes();
    let poll = world.call(Method::POST, "/api/v1/work").bearer_auth(&host.person.token).body(body);
    let poll = tokio::spawn(poll.send());
    let metrics = || world.call(Method::GET, "/metrics").send();
    while !metrics().await.unwrap().text().await.unwrap().contains("hosts_waiting 1") {
        tokio::task::yield_now().await;
    }
    world.handle.shutdown().await.unwrap();
    let answer = poll.await.unwrap().unwrap().bytes().await.unwrap();
    assert_eq!(WorkReply::from_bytes(&answer).unwrap().grants.0.len(), 0);
    // To its end, not to a cut connection.
    while events.chunk().await.unwrap().is_some() {}
}

#[tokio::test]
async fn a_task_that_the_job_does_not_have_is_not_there_and_a_list_ends_behind_its_last() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let job = world.submitted(&payer, &world.manifest(&payer, 2).await).await;
    let path = |task: u32| format!("/api/v1/jobs/{job}/tasks/{task}");
    assert_eq!(world.get(&payer, &path(1)).await.status(), 200);
    for task in [2, u32::MAX] {
        problem(world.get(&payer, &path(task)).await, 404).await;
    }
    for list in ["tasks", "results"] {
        let path = format!("/api/v1/jobs/{job}/{list}?after=999999999999999999");
        let page: Value = world.get(&payer, &path).await.json().await.unwrap();
        assert_eq!(page["items"].as_array().map(Vec::len), Some(0), "{page}");
    }
}
