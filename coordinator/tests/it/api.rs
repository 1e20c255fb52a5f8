//! A coordinator on a free port, asked over HTTP as clients ask it.

use reqwest::Method;
use serde_json::{Value, json};
use tallymill_protocol::cbor::{List, Text};
use tallymill_protocol::work::WorkRequest;
use tallymill_protocol::{Keypair, Manifest, Message, Nonce, Revocation};

use crate::world::{Person, Worker, World, asking, network, now, problem, receipt};

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
    // A link of a page cannot send the header; it leads here all the same, but only reads.
    let link = |method, path: &str| {
        let call = world.client.request(method, format!("{}{path}", world.url));
        call.header("accept", "text/html,*/*").send()
    };
    assert_eq!(link(Method::GET, "/api/v1/network").await.unwrap().status(), 200);
    problem(link(Method::POST, "/api/v1/jobs").await.unwrap(), 426).await;
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
async fn an_expired_token_is_401_and_says_so_but_anybodys_calls_still_work() {
    let world = World::start_with(|options| options.bounds.session = 0).await;
    let token = world.token(&world.operator, "api").await;
    let call = |path: &str| world.call(Method::GET, path).bearer_auth(&token).send();
    let told = problem(call("/api/v1/jobs").await.unwrap(), 401).await;
    assert!(told["detail"].as_str().unwrap().contains("has expired"), "{told}");
    assert!(told["next"].as_str().unwrap().contains("log in"), "{told}");
    assert_eq!(call("/api/v1/network").await.unwrap().status(), 200);
}

/// A link that signs a browser in, and a browser that follows no redirection.
async fn link(world: &World) -> (String, reqwest::Client) {
    let payer = world.person(2, 0).await;
    let link = world.as_person(&payer, Method::POST, "/api/v1/open", Vec::new()).await;
    let path = link.json::<Value>().await.unwrap()["path"].as_str().unwrap().to_owned();
    let redirects = reqwest::redirect::Policy::none();
    (path, tallymill_transport::plain().unwrap().redirect(redirects).build().unwrap())
}

#[tokio::test]
async fn a_link_signs_one_browser_in_which_only_reads() {
    let world = World::start().await;
    let (path, browser) = link(&world).await;
    let open = |path: &str| browser.get(format!("{}{path}", world.url)).send();
    let wrong = [format!("/open/{}", "00".repeat(32)), "/open/x".into(), format!("{path}0")];
    for path in wrong {
        let told = problem(open(&path).await.unwrap(), 401).await;
        assert_eq!(told["type"], "urn:tallymill:problem:login", "{path}");
    }
    let opened = open(&path).await.unwrap();
    assert_eq!(opened.status(), 303, "what is wrong does not use it up");
    let header = |name: &str| opened.headers()[name].to_str().unwrap().to_owned();
    let (page, cookie) = (header("location"), header("set-cookie"));
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert_eq!(header("referrer-policy"), "no-referrer");
    let again = problem(open(&path).await.unwrap(), 401).await;
    assert!(again["next"].as_str().unwrap().contains("log in"), "{again}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let read = browser.get(format!("{}{page}", world.url)).header("cookie", &cookie).send();
    assert_eq!(read.await.unwrap().status(), 200, "its own account");
    assert_eq!(open(&page).await.unwrap().status(), 401, "nobody else's");
    let write = browser.post(format!("{}/api/v1/open", world.url)).header("cookie", &cookie);
    let told = problem(write.header("tallymill-protocol", "1").send().await.unwrap(), 403).await;
    assert!(told["detail"].as_str().unwrap().contains("only reads"), "{told}");
}

#[tokio::test]
async fn a_link_that_was_followed_too_late_signs_nobody_in() {
    let world = World::start_with(|options| options.bounds.link = 0).await;
    let (path, browser) = link(&world).await;
    let late = browser.get(format!("{}{path}", world.url)).send().await.unwrap();
    assert!(late.headers().get("set-cookie").is_none());
    let told = problem(late, 401).await;
    assert!(told["detail"].as_str().unwrap().contains("the link has expired"), "{told}");
}

#[tokio::test]
async fn people_get_a_page_and_programs_a_problem_where_nothing_is() {
    let world = World::start().await;
    let ask = |path: &str, accept: &'static str| {
        world.call(Method::GET, path).header("accept", accept).send()
    };
    let page = ask("/nowhere", "text/html,*/*;q=0.8").await.unwrap();
    assert_eq!(page.status(), 404);
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("default-src"));
    assert!(page.text().await.unwrap().contains("there is no such page"));
    problem(ask("/nowhere", "*/*").await.unwrap(), 404).await;
    problem(ask("/api/v1/nowhere", "text/html").await.unwrap(), 404).await;
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
    let long = vec![b' '; 65_700 + 1];
    let told = world.as_person(&payer, Method::POST, "/api/v1/quote", long).await;
    let told = problem(told, 413).await;
    assert_eq!((&told["field"], &told["limit"]), (&"body".into(), &"65700".into()));
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

/// The owner withdraws a host, whose leases end.
async fn withdraw(world: &World, owner: &Person, host: &Worker) {
    let id = owner.pair.public();
    let revocation = Revocation {
        format: 1,
        network: network(),
        owner: id.into(),
        host: host.person.pair.public().into(),
        issued: now(),
    };
    let body = owner.pair.sign(&revocation).to_bytes();
    let path = format!("/api/v1/accounts/{id}/revoke");
    let answer = world.as_person(owner, Method::POST, &path, body).await;
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

#[tokio::test]
async fn a_withdrawn_host_is_told_so_whatever_it_asks() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let host = world.host(3, &payer).await;
    world.submitted(&payer, &world.manifest(&payer, 1).await).await;
    let token = world.lease(&host).await;
    withdraw(&world, &payer, &host).await;
    let report = host.upload(&token, &[receipt(&token.peek().unwrap(), b"")], b"");
    for reports in [vec![report], Vec::new()] {
        let body = WorkRequest { reports: List(reports), ..asking() }.to_bytes();
        let call = world.as_person(&host.person, Method::POST, "/api/v1/work", body);
        let told = problem(call.await, 403).await;
        assert!(told["detail"].as_str().unwrap().contains("withdrawn"), "{told}");
    }
}

#[tokio::test]
async fn metrics_count_requests_problems_commits_and_verdicts() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let host = world.host(3, &payer).await;
    let job = world.submitted(&payer, &world.manifest(&payer, 1).await).await;
    let token = world.lease(&host).await;
    let upload = host.upload(&token, &[receipt(&token.peek().unwrap(), b"")], b"");
    assert_eq!(world.report(&host, upload).await.verdicts.0, [0]);
    assert!(world.work(&host, &asking()).await.grants.0.is_empty());
    let again = world.manifest(&payer, 1).await;
    world.submitted(&payer, &Manifest { nonce: Nonce([1; 16]), ..again }).await;
    world.lease(&host).await;
    withdraw(&world, &payer, &host).await;
    let body = asking().to_bytes();
    problem(world.as_person(&host.person, Method::POST, "/api/v1/work", body).await, 403).await;
    world.get(&payer, &format!("/api/v1/jobs/{job}")).await;
    problem(world.get(&payer, "/nowhere").await, 404).await;
    let answer = world.call(Method::GET, "/metrics").send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    let text = answer.text().await.unwrap();
    for line in [
        r#"tallymill_requests_total{method="GET",route="/api/v1/jobs/{id}",status="200"} 1"#,
        r#"tallymill_requests_total{method="GET",route="none",status="404"} 1"#,
        r#"tallymill_problems_total{kind="not-found"} 1"#,
        r#"tallymill_receipts_total{verdict="settled"} 1"#,
        "tallymill_reports_total 1",
        "tallymill_lapsed_tasks_total 1",
        r#"tallymill_waits_total{cause="no-tasks"} 1"#,
        r#"tallymill_refusals_total{cause="revoked"} 1"#,
        "tallymill_leases 0",
        "tallymill_ready 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    assert!(value("tallymill_commit_seconds_count ") > 2);
    assert!(value("tallymill_batch_size_count ") > 2);
    assert!(!text.contains(&job), "an id is no label");
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn reasons_amounts_and_idempotency_keys_are_what_the_document_says() {
    let world = World::start().await;
    let (operator, payer) = (world.person(1, 0).await, world.person(2, 100).await);
    let job = world.submitted(&payer, &world.manifest(&payer, 1).await).await;
    let (to, subject) = (payer.pair.public().to_string(), "00".repeat(32));
    let because = |letters: usize| json!({ "kind": "module", "subject": subject, "reason": "ä".repeat(letters) });
    let grant = |amount: &str| json!({ "to": to, "amount": amount });
    let cancel = format!("/api/v1/jobs/{job}/cancel");
    let calls = [
        ("/api/v1/admin/suspend", because(0), 400),
        ("/api/v1/admin/suspend", because(501), 400),
        ("/api/v1/admin/suspend", because(500), 200),
        ("/api/v1/admin/lift", because(501), 400),
        ("/api/v1/admin/lift", because(500), 200),
        ("/api/v1/admin/grant", grant("0"), 400),
        ("/api/v1/admin/grant", grant("-1"), 400),
        ("/api/v1/admin/grant", grant("+1"), 400),
        ("/api/v1/admin/grant", grant("1"), 200),
        (cancel.as_str(), json!({ "reason": "ä".repeat(501) }), 400),
        (cancel.as_str(), json!({ "reason": "" }), 200),
    ];
    for (path, body, status) in calls {
        let bytes = body.to_string().into_bytes();
        let told = world.as_person(&operator, Method::POST, path, bytes).await;
        assert_eq!(told.status(), status, "{path} {body}");
    }
    for (key, status) in [("a key", 200), ("a\tkey", 400), ("", 400)] {
        let call = world.call(Method::POST, "/api/v1/admin/grant").bearer_auth(&operator.token);
        let call = call.header("idempotency-key", key).body(grant("1").to_string());
        assert_eq!(call.send().await.unwrap().status(), status, "{key:?}");
    }
}
