//! Long tasks: what a grant says of them, and snapshots that are read before their receipts count.

use reqwest::Method;
use serde_json::Value;
use tallymill_protocol::cbor::List;
use tallymill_protocol::snapshot::{
    Counters, Facts, Files, Global, Handles, PAGE, Pages, Snapshot,
};
use tallymill_protocol::work::{Grant, WorkRequest};
use tallymill_protocol::*;

use crate::world::{Person, Worker, World, asking, problem, receipt};

const SEGMENT: u64 = MIN_SEGMENT;

/// Has what a host calls of a long task.
const MODULE: &str = r#"(module (memory (export "memory") 1) (func (export "init"))
    (func (export "step") (param i64) (result i32) (i32.const 1)))"#;

/// A long job of `payer`, one task, with small limits.
async fn manifest(world: &World, payer: &Person) -> Manifest {
    let plain = world.manifest(payer, 1).await;
    let limits = Limits {
        fuel: 10 * SEGMENT,
        memory: 2 * PAGE as u64,
        output: 100,
        log: 100,
        scratch: 0,
        ..plain.limits
    };
    let steps = Some(Steps { budget: 1_000, segment: SEGMENT });
    let module = world.upload(payer, &wat::parse_str(MODULE).unwrap()).await;
    Manifest { interface: Interface::Step, limits, steps, module, ..plain }
}

fn state(memory: &[u8], fuel: u64) -> Snapshot<'_> {
    let peak_pages = 1;
    Snapshot {
        facts: Facts {
            metered: Digest::ZERO,
            fuel,
            memory_fuel: fuel,
            summed: fuel,
            steps: 3,
            peak_pages,
        },
        pages: Pages::of(memory).unwrap(),
        globals: vec![Global::I32(7)],
        tables: Vec::new(),
        data: Vec::new(),
        elements: Vec::new(),
        output: b"half",
        log: b"",
        handles: Handles::default(),
        files: Files::default(),
        counters: Counters::default(),
    }
}

/// What an honest host says of the first segment, which ends with this snapshot.
fn paused(lease: &Lease, snapshot: &Snapshot<'_>, blob: &[u8]) -> Receipt {
    let (before, after) = (Digest::ZERO, snapshot.root());
    let fuel = snapshot.facts.fuel;
    let segment = Segment { index: 0, before, after, fuel_before: 0, fuel_after: fuel };
    let (outcome, bytes_out, output) = (Outcome::Paused, blob.len() as u64, Digest::of(blob));
    let plain = receipt(lease, b"");
    Receipt { outcome, output, bytes_out, fuel, memory_fuel: fuel, segment: Some(segment), ..plain }
}

async fn grant(world: &World, host: &Worker) -> Grant {
    let mut reply = world.work(host, &asking()).await;
    assert_eq!(reply.grants.0.len(), 1, "{:?}", reply.reasons);
    reply.grants.0.remove(0)
}

/// A long job leased to the first host of its payer.
async fn leased() -> (World, Person, [Worker; 2], String, Grant) {
    let world = World::with_blobs(4 << 20).await;
    let payer = world.person(2, 100).await;
    let hosts = [world.host(3, &payer).await, world.host(4, &payer).await];
    let job = world.submitted(&payer, &manifest(&world, &payer).await).await;
    let grant = grant(&world, &hosts[0]).await;
    (world, payer, hosts, job, grant)
}

#[tokio::test]
async fn a_segment_counts_once_its_snapshot_is_read_and_another_host_goes_on_from_it() {
    let (world, payer, [host, other], job, first) = leased().await;
    let start = first.states.0[0];
    assert_eq!((start.index, start.root, start.snapshot), (0, Digest::ZERO, None));
    let memory = vec![5; PAGE];
    let snapshot = state(&memory, SEGMENT);
    let blob = snapshot.encode();
    let told = paused(&first.lease.peek().unwrap(), &snapshot, &blob);
    let upload = host.upload(&first.lease, std::slice::from_ref(&told), b"");
    let missing = world.report(&host, upload.clone()).await;
    assert!(missing.reason.0.contains("upload it as a blob first"), "{missing:?}");
    // The refused receipt gave the task back: the host is leased it again.
    let second = grant(&world, &host).await;
    let lease = second.lease.peek().unwrap();
    world.upload(&host.person, &blob).await;
    let path = format!("/api/v1/blobs/{}", Digest::of(&blob));
    for person in [&other.person, &host.person, &payer] {
        let read = world.get(person, &path).await;
        assert_eq!(read.status(), 404, "nobody reads a snapshot before its segment is agreed");
    }
    let host = Worker { sequence: 1, previous: upload.report.peek().unwrap().digest(), ..host };
    let told = Receipt { lease: lease.digest(), ..told };
    let upload = host.upload(&second.lease, &[told], b"");
    let answer = world.report(&host, upload).await;
    assert_eq!(answer.verdicts.0, [0], "{:?}", answer.reason);
    let shown: Value =
        world.get(&payer, &format!("/api/v1/jobs/{job}")).await.json().await.unwrap();
    assert_eq!((&shown["state"], &shown["spent"]), (&"running".into(), &"4195".into()));
    let next = grant(&world, &other).await;
    let start = next.states.0[0];
    assert_eq!((start.index, start.root, start.fuel), (1, snapshot.root(), SEGMENT));
    assert_eq!((start.snapshot, start.length), (Some(Digest::of(&blob)), blob.len() as u64));
    let read = world.get(&other.person, &path).await;
    assert_eq!(read.bytes().await.unwrap(), blob, "who goes on from it reads it");
    assert_eq!(world.get(&host.person, &path).await.status(), 404);
    agreed_only(&world, &payer, &job).await;
    ended(&world, (&payer, &job), (&other, &next), &state(&memory, SEGMENT + 9)).await;
}

/// While a task goes on there is evidence of the segment on which hosts agreed, and of nothing else.
async fn agreed_only(world: &World, payer: &Person, job: &str) {
    let path = |query: &str| format!("/api/v1/jobs/{job}/receipts/0{query}");
    let first: Value = world.get(payer, &path("?segment=0")).await.json().await.unwrap();
    assert!(first["receipt"].is_string() && first.get("snapshot").is_none(), "{first}");
    for (query, status) in [("", 404), ("?segment=1", 404), ("?segment=x", 400), ("?part=0", 400)] {
        assert_eq!(world.get(payer, &path(query)).await.status(), status, "{query}");
    }
}

/// The second segment ends the task; its evidence and output are those of the last segment.
async fn ended(
    world: &World,
    (payer, job): (&Person, &str),
    (host, next): (&Worker, &Grant),
    end: &Snapshot<'_>,
) {
    let (lease, start) = (next.lease.peek().unwrap(), next.states.0[0]);
    let (index, before, after) = (1, start.root, end.root());
    let segment = Segment { index, before, after, fuel_before: SEGMENT, fuel_after: SEGMENT + 9 };
    let told = Receipt {
        fuel: 9,
        memory_fuel: 9,
        segment: Some(segment),
        input: Digest::of(b"0\n"),
        bytes_in: 2 + start.length,
        ..receipt(&lease, b"whole")
    };
    let answer = world.report(host, host.upload(&next.lease, &[told], b"whole")).await;
    assert_eq!(answer.verdicts.0, [0], "{:?}", answer.reason);
    let output = world.get(payer, &format!("/api/v1/jobs/{job}/tasks/0/output")).await;
    assert_eq!(output.bytes().await.unwrap().as_ref(), b"whole");
    let snapshot = format!("/api/v1/blobs/{}", start.snapshot.unwrap());
    assert_eq!(world.get(payer, &snapshot).await.status(), 404);
    let path = format!("/api/v1/jobs/{job}/receipts/0");
    let evidence: Value = world.get(payer, &path).await.json().await.unwrap();
    let evidence = tallymill_audit::Evidence::from_json(evidence.to_string().as_bytes()).unwrap();
    assert_eq!(evidence.receipt().unwrap().segment.unwrap().index, 1);
    assert_eq!(evidence.snapshot, start.snapshot);
    assert_eq!(world.get(payer, &snapshot).await.status(), 200, "to run the segment again");
    tallymill_audit::check_signatures(&evidence, None).unwrap();
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_now_is_503_and_nothing_is_decided() {
    let (world, payer, [host, other], job, first) = leased().await;
    let memory = vec![5; PAGE];
    let snapshot = state(&memory, SEGMENT);
    let blob = snapshot.encode();
    let digest = Digest::of(&blob);
    let told = paused(&first.lease.peek().unwrap(), &snapshot, &blob);
    let upload = || host.upload(&first.lease, std::slice::from_ref(&told), b"");
    let unavailable = async |who: &Person, method, path: &str, body| {
        let answer = world.as_person(who, method, path, body).await;
        assert_eq!(answer.headers()["retry-after"], "1");
        problem(answer, 503).await;
    };
    world.break_blob(digest);
    let request = WorkRequest { reports: List(vec![upload()]), buffer: 0, ..asking() };
    unavailable(&host.person, Method::POST, "/api/v1/work", request.to_bytes()).await;
    let shown: Value =
        world.get(&payer, &format!("/api/v1/jobs/{job}")).await.json().await.unwrap();
    assert_eq!((&shown["state"], &shown["spent"]), (&"running".into(), &"0".into()));
    world.lose_blob(digest);
    world.upload(&host.person, &blob).await;
    assert_eq!(world.report(&host, upload()).await.verdicts.0, [0], "the lease still holds it");
    // The next host goes on from it, once it can be read.
    let next = grant(&world, &other).await;
    assert_eq!(next.states.0[0].snapshot, Some(digest));
    world.lose_blob(digest);
    world.break_blob(digest);
    let path = format!("/api/v1/blobs/{digest}");
    unavailable(&other.person, Method::GET, &path, Vec::new()).await;
}

#[tokio::test]
async fn a_snapshot_that_is_not_what_its_receipt_says_is_refused_by_name() {
    let memory = vec![5; PAGE];
    let honest = state(&memory, SEGMENT);
    let refused = async |blob: Vec<u8>, change: fn(&mut Receipt), part: &str| {
        let (world, _, [host, _], _, grant) = leased().await;
        world.upload(&host.person, &blob).await;
        let mut told = paused(&grant.lease.peek().unwrap(), &honest, &blob);
        change(&mut told);
        let answer = world.report(&host, host.upload(&grant.lease, &[told], b"")).await;
        assert_eq!(answer.verdicts.0, [3], "{part}");
        assert!(answer.reason.0.contains(part), "{:?} lacks {part}", answer.reason);
    };
    fn segment(receipt: &mut Receipt) -> &mut Segment {
        receipt.segment.as_mut().unwrap()
    }
    let blob = honest.encode();
    refused(blob.clone(), |it| segment(it).after = Digest::ZERO, "state root").await;
    refused(blob.clone(), |it| segment(it).fuel_after += 1, "fuel is not that").await;
    refused(blob.clone(), |it| it.metered = Digest::of(b"x"), "metered").await;
    refused(blob.clone(), |it| it.peak_memory += 65_536, "peak_memory").await;
    refused(blob.clone(), |it| it.segment = None, "a paused task has one").await;
    refused(blob.clone(), |it| it.bytes_out -= 1, "bytes_out").await;
    refused(blob.clone(), |it| it.bytes_out = u64::MAX, "above the lease's limit").await;
    refused(b"no snapshot".to_vec(), |_| {}, "snapshot").await;
    let wide = Snapshot { output: &[1; 101], ..honest.clone() };
    refused(wide.encode(), |_| {}, "output: 101, at most 100").await;
    let (mut other, mut page) = (honest.clone(), memory.clone());
    page[9] ^= 1;
    other.pages = Pages::of(&page).unwrap();
    refused(other.encode(), |_| {}, "state root").await;
}

#[tokio::test]
async fn a_long_job_whose_snapshots_are_no_blobs_here_is_refused_by_name() {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let long = manifest(&world, &payer).await;
    let told = problem(world.submit(&payer, &long).await, 400).await;
    assert_eq!((&told["field"], &told["limit"]), (&"limits".into(), &"4096".into()));
    assert!(told["next"].as_str().unwrap().contains("lower the limits"));
    let body = payer.pair.sign(&Manifest { steps: None, ..long }).to_bytes();
    let told =
        problem(world.as_person(&payer, Method::POST, "/api/v1/quote", body).await, 400).await;
    assert_eq!(told["field"], "steps");
}

#[tokio::test]
async fn a_module_without_steps_is_no_long_job_and_one_in_steps_no_command() {
    let world = World::with_blobs(4 << 20).await;
    let payer = world.person(2, 100).await;
    let long = manifest(&world, &payer).await;
    let plain = world.manifest(&payer, 1).await;
    let told = problem(
        world.submit(&payer, &Manifest { module: plain.module, ..long.clone() }).await,
        400,
    )
    .await;
    assert_eq!(told["field"], "module");
    assert!(told["detail"].as_str().unwrap().contains("\"init\""), "{told}");
    let told =
        problem(world.submit(&payer, &Manifest { module: long.module, ..plain }).await, 400).await;
    assert!(told["detail"].as_str().unwrap().contains("\"_start\""), "{told}");
}
