//! Reports that are forged, replayed, foreign, late or too dear, and what their hosts hear.

use std::sync::Arc;

use reqwest::Method;
use serde_json::Value;
use tallymill_protocol::cbor::List;
use tallymill_protocol::work::{ReportUpload, Verdict, WorkRequest};
use tallymill_protocol::{
    AttemptId, Digest, Inputs, Keypair, Lease, Manifest, Message as _, Network, Receipt, Signed,
    TableEntry, merkle,
};
use tallymill_storage::{Identity, MemoryStore};

use crate::world::{Person, Worker, World, asking, network, problem, receipt, withdrawn};

type Change = fn(&mut Receipt);

async fn spent(world: &World, who: &Person, job: &str) -> String {
    let shown = world.get(who, &format!("/api/v1/jobs/{job}")).await;
    shown.json::<Value>().await.unwrap()["spent"].as_str().unwrap().to_owned()
}

/// A job with one task, leased to the first of two hosts.
async fn leased() -> (World, Person, [Worker; 2], String, Signed<Lease>) {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let hosts = [world.host(3, &payer).await, world.host(4, &payer).await];
    let manifest = world.manifest(&payer, 1).await;
    let job = world.submitted(&payer, &manifest).await;
    let lease = world.lease(&hosts[0]).await;
    (world, payer, hosts, job, lease)
}

#[tokio::test]
async fn a_replay_is_answered_as_before_also_after_a_restart_and_paid_once() {
    let (world, payer, [host, _], job, token) = leased().await;
    let upload = host.upload(&token, &[receipt(&token.peek().unwrap(), b"out")], b"out");
    let first = world.report(&host, upload.clone()).await;
    assert_eq!(first.verdicts.0, [0], "{:?}", first.reason);
    let paid = spent(&world, &payer, &job).await;
    assert_ne!(paid, "0");
    assert_eq!(world.report(&host, upload.clone()).await, first);
    let world = world.restart().await;
    let host = Worker { person: relogged(&world, &host.person, "worker").await, ..host };
    let payer = relogged(&world, &payer, "api").await;
    assert_eq!(world.report(&host, upload.clone()).await, first);
    // Signed again as the next report, the same receipts are still the same receipts.
    let next = Worker { sequence: 1, previous: upload.report.peek().unwrap().digest(), ..host };
    let again = next.upload(&token, &[receipt(&token.peek().unwrap(), b"out")], b"out");
    assert_eq!(world.report(&next, again).await.verdicts, first.verdicts);
    assert_eq!(spent(&world, &payer, &job).await, paid);
}

async fn relogged(world: &World, who: &Person, purpose: &str) -> Person {
    let token = world.token(&who.pair, purpose).await;
    Person { token, ..who.clone() }
}

/// Sends a report that must be refused, and gives the reason.
async fn refused(world: &World, host: &Worker, upload: ReportUpload) -> String {
    let answer = world.report(host, upload).await;
    assert!(answer.verdicts.0.iter().all(|code| *code == 3), "{answer:?}");
    answer.reason.0
}

#[tokio::test]
async fn forged_and_foreign_reports_are_refused_by_name() {
    let (world, payer, [host, other], job, token) = leased().await;
    let lease = token.peek().unwrap();
    let receipts = [receipt(&lease, b"")];
    let honest = host.upload(&token, &receipts, b"");
    let report = host.covering(&lease, &receipts);
    let forger = Keypair::from_secret(&[99; 32]);
    let signed = |report| ReportUpload { report: host.person.pair.sign(&report), ..honest.clone() };
    let resigned = |lease: &Lease| {
        let receipts = [receipt(lease, b"")];
        let token = forger.sign(lease);
        ReportUpload { leases: List(vec![token.clone()]), ..host.upload(&token, &receipts, b"") }
    };
    let elsewhere = Network::new("elsewhere").unwrap();
    let cases = [
        (ReportUpload { report: forger.sign(&report), ..honest.clone() }, "report: "),
        (
            signed(tallymill_protocol::Report { network: elsewhere, ..report.clone() }),
            "report.network",
        ),
        (
            signed(tallymill_protocol::Report { epoch: report.epoch + 1, ..report.clone() }),
            "leases[0].epoch",
        ),
        (
            signed(tallymill_protocol::Report {
                coordinator: forger.public().into(),
                ..report.clone()
            }),
            "report.coordinator",
        ),
        (signed(tallymill_protocol::Report { count: 2, ..report.clone() }), "report.root"),
        (resigned(&lease), "leases[0]: "),
        (ReportUpload { leases: List::default(), ..honest.clone() }, "receipts[0].lease"),
        (ReportUpload { logs: List::default(), ..honest.clone() }, "report.logs"),
    ];
    for (upload, named) in cases {
        let reason = refused(&world, &host, upload).await;
        assert!(reason.starts_with(named), "{named}: {reason}");
    }
    let stolen = refused(&world, &other, other.upload(&token, &receipts, b"")).await;
    assert!(stolen.starts_with("leases[0].host"), "{stolen}");
    assert_eq!(spent(&world, &payer, &job).await, "0");
    assert_eq!(world.report(&host, honest).await.verdicts.0, [0], "the honest one still counts");
    let text = world.call(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    for (cause, times) in
        [("report", 1), ("report.network", 1), ("receipts.lease", 1), ("leases.host", 1)]
    {
        let line = format!("tallymill_rejects_total{{cause=\"{cause}\"}} {times}");
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert!(!text.contains("rejects_total{cause=\"other\"}"), "a cause without a name in\n{text}");
}

#[tokio::test]
async fn receipts_outside_their_lease_are_refused_by_name() {
    let changes: [(Change, &str); 4] = [
        (|receipt| receipt.fuel = 1_000_001, "fuel: 1000001 is above the lease's limit of 1000000"),
        (|receipt| receipt.task.0 = 1, "task: 1 is not under its lease"),
        (|receipt| receipt.bytes_out = 1, "output: "),
        (|receipt| receipt.module.0 = [0; 32], "module: "),
    ];
    for (change, named) in changes {
        let (world, _, [host, _], _, token) = leased().await;
        let mut wrong = receipt(&token.peek().unwrap(), b"");
        change(&mut wrong);
        let reason = refused(&world, &host, host.upload(&token, &[wrong], b"")).await;
        assert!(reason.contains(named), "{named}: {reason}");
    }
}

#[tokio::test]
async fn a_receipt_under_another_lease_of_its_host_is_refused_and_costs_nothing() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let mut host = world.host(3, &payer).await;
    let job = world.submitted(&payer, &world.manifest(&payer, 2).await).await;
    let tokens = [world.lease(&host).await, world.lease(&host).await];
    let [own, other] = tokens.each_ref().map(|token| token.peek().unwrap());
    assert_eq!((own.first.0, own.count, other.first.0), (0, 1, 1));
    // The task of one lease, said to be under the other, which is as valid.
    let mixed = Receipt { lease: other.digest(), ..receipt(&own, b"") };
    let mut upload = host.upload(&tokens[1], std::slice::from_ref(&mixed), b"");
    upload.leases = List(tokens.to_vec());
    let named = "task: 0 is not under its lease";
    let report = upload.report.peek().unwrap();
    assert!(refused(&world, &host, upload).await.contains(named));
    assert_eq!(spent(&world, &payer, &job).await, "0");
    (host.sequence, host.previous) = (1, report.digest());
    for (token, lease) in tokens.iter().zip([&own, &other]) {
        let upload = host.upload(token, &[receipt(lease, b"")], b"");
        let report = upload.report.peek().unwrap();
        assert_eq!(world.report(&host, upload).await.verdicts.0, [0]);
        (host.sequence, host.previous) = (host.sequence + 1, report.digest());
    }
    assert_eq!(spent(&world, &payer, &job).await, "2");
}

#[tokio::test]
async fn a_lease_of_another_network_of_the_same_coordinator_is_refused() {
    let key = || Keypair::from_secret(&[7; 32]);
    let identity = Identity { network: network(), coordinator: key().public().into() };
    let world = World::on(key(), Arc::new(MemoryStore::new(&identity))).await;
    let payer = world.person(2, 100).await;
    let host = world.host(3, &payer).await;
    let job = world.submitted(&payer, &world.manifest(&payer, 1).await).await;
    let token = world.lease(&host).await;
    let lease = token.peek().unwrap();
    let elsewhere = Lease { network: Network::new("elsewhere").unwrap(), ..lease.clone() };
    let foreign = host.upload(&key().sign(&elsewhere), &[receipt(&elsewhere, b"")], b"");
    let reason = refused(&world, &host, foreign).await;
    assert!(reason.starts_with("leases[0].network"), "{reason}");
    assert_eq!(spent(&world, &payer, &job).await, "0");
    let honest = host.upload(&token, &[receipt(&lease, b"")], b"");
    assert_eq!(world.report(&host, honest).await.verdicts.0, [0], "nothing was counted");
}

#[tokio::test]
async fn the_same_receipt_twice_is_paid_once() {
    let (world, payer, [host, _], job, token) = leased().await;
    let one = receipt(&token.peek().unwrap(), b"");
    let answer = world.report(&host, host.upload(&token, &[one.clone(), one.clone()], b"")).await;
    assert_eq!(answer.verdicts.0, [0, 3]);
    assert!(answer.reason.0.contains("twice in one report"), "{:?}", answer.reason);
    // 100 fuel at 10⁶ micro-credits per 10⁹ fuel, rounded up.
    assert_eq!(spent(&world, &payer, &job).await, "1");
}

#[tokio::test]
async fn a_report_after_the_decision_is_superseded() {
    let (world, payer, [late, quick], job, first) = leased().await;
    let lease = first.peek().unwrap();
    let request = WorkRequest { voids: List(vec![withdrawn(&lease)]), buffer: 0, ..asking() };
    world.work(&late, &request).await;
    let second = world.lease(&quick).await;
    let upload = quick.upload(&second, &[receipt(&second.peek().unwrap(), b"")], b"");
    assert_eq!(world.report(&quick, upload).await.verdicts.0, [0]);
    let paid = spent(&world, &payer, &job).await;
    let upload = late.upload(&first, &[receipt(&lease, b"")], b"");
    let answer = world.report(&late, upload).await;
    assert_eq!(answer.verdicts.0, [2], "{:?}", answer.reason);
    assert_eq!(spent(&world, &payer, &job).await, paid);
}

#[tokio::test]
async fn a_grant_that_a_host_says_it_does_not_hold_is_made_again() {
    let (world, _payer, [host, _], _job, first) = leased().await;
    let attempt = first.peek().unwrap().attempt;
    let held = |held: &[AttemptId]| WorkRequest { held: Some(List(held.to_vec())), ..asking() };
    assert!(world.work(&host, &held(&[attempt])).await.grants.0.is_empty());
    // Beside a call that asks for work, the list may be older than a grant.
    world.work(&host, &WorkRequest { buffer: 0, ..held(&[]) }).await;
    assert!(world.work(&host, &held(&[attempt])).await.grants.0.is_empty());
    let reply = world.work(&host, &held(&[])).await;
    let again = reply.grants.0[0].lease.peek().unwrap();
    assert_ne!(again.attempt, attempt);
    assert_eq!(again.first, first.peek().unwrap().first);
}

#[tokio::test]
async fn a_lease_that_cannot_be_handed_out_goes_back_and_the_rest_of_the_reply_goes_out() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let host = world.host(3, &payer).await;
    let plain = world.manifest(&payer, 1).await;
    world.submitted(&payer, &plain).await;
    let token = world.lease(&host).await;
    let entry = TableEntry { offset: 48, length: 5, digest: Digest::of(b"input") }.to_bytes();
    let blob = world.upload(&payer, &[&entry[..], b"input"].concat()).await;
    let root = merkle::root(&[merkle::leaf(&entry)]);
    let inputs = Inputs::Table { root, count: 1, blob };
    world.submitted(&payer, &Manifest { inputs, ..plain }).await;
    world.lose_blob(blob);
    let upload = host.upload(&token, &[receipt(&token.peek().unwrap(), b"out")], b"out");
    let request = WorkRequest { reports: List(vec![upload]), ..asking() };
    let reply = world.work(&host, &request).await;
    assert_eq!(reply.answers.0[0].verdicts.0, [0]);
    assert!(reply.grants.0.is_empty());
    let metrics = world.call(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tallymill_leases 0"), "{metrics}");
}

#[tokio::test]
async fn a_disk_that_fails_is_not_held_against_the_host() {
    let (world, _payer, [host, _], _job, token) = leased().await;
    let receipt = receipt(&token.peek().unwrap(), b"long output");
    let report = || host.upload(&token, std::slice::from_ref(&receipt), b"");
    world.break_blob(receipt.output);
    let request = WorkRequest { reports: List(vec![report()]), buffer: 0, ..asking() };
    let body = request.to_bytes();
    let answer = world.as_person(&host.person, Method::POST, "/api/v1/work", body).await;
    assert_eq!(answer.headers()["retry-after"], "1");
    problem(answer, 503).await;
    world.lose_blob(receipt.output);
    world.upload(&host.person, b"long output").await;
    assert_eq!(world.report(&host, report()).await.verdicts.0, [Verdict::Settled as u8]);
}

#[tokio::test]
async fn a_host_that_never_joined_gets_no_work_and_cannot_report() {
    let (world, payer, _hosts, job, token) = leased().await;
    let pair = Arc::new(Keypair::from_secret(&[9; 32]));
    let login = world.token(&pair, "worker").await;
    let person = Person { pair, token: login };
    let stranger = Worker { person, sequence: 0, previous: Digest::ZERO };
    let receipt = receipt(&token.peek().unwrap(), b"out");
    let report = stranger.upload(&token, &[receipt], b"out");
    for reports in [vec![report], Vec::new()] {
        let body = WorkRequest { reports: List(reports), ..asking() }.to_bytes();
        let call = world.as_person(&stranger.person, Method::POST, "/api/v1/work", body);
        assert_eq!(problem(call.await, 403).await["next"], "join first");
    }
    assert_eq!(spent(&world, &payer, &job).await, "0");
}

#[tokio::test]
async fn a_call_that_waits_for_results_is_answered_when_one_is_decided_or_none_can_be() {
    let (world, payer, [host, _], job, token) = leased().await;
    let path = |after: &str, wait: u32| {
        format!("/api/v1/jobs/{job}/results?after={after}&limit=10&wait={wait}")
    };
    let told = problem(world.get(&payer, &path("0", 30_001)).await, 400).await;
    assert_eq!(told["field"], "wait");
    let read = async |after: &str, wait: u32| -> Value {
        world.get(&payer, &path(after, wait)).await.json().await.unwrap()
    };
    // In time that does nothing, it is answered without a result.
    assert_eq!(read("0", 50).await["items"].as_array().unwrap().len(), 0);
    let decide = async {
        // Something else happens first, which is no news of this job.
        world.person(7, 1).await;
        let upload = host.upload(&token, &[receipt(&token.peek().unwrap(), b"out")], b"out");
        world.report(&host, upload).await
    };
    let (page, answer) = tokio::join!(read("0", 30_000), decide);
    assert_eq!((answer.verdicts.0, &page["items"][0]["task"]), (vec![0], &Value::from(0)));
    // Of a job that is over nobody waits for more.
    let after = page["next"].as_str().unwrap();
    let rest = tokio::time::timeout(std::time::Duration::from_secs(10), read(after, 30_000)).await;
    assert_eq!(rest.unwrap()["state"], "finished");
}
