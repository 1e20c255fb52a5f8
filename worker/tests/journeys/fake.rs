//! A coordinator of a few lines: it signs leases for one job and takes reports.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tallymill_protocol::cbor::{Blob, List, Text};
use tallymill_protocol::work::{
    Grant, Position, ReportAnswer, ReportUpload, SegmentStart, Verdict, VoidEntry, WorkReply,
    WorkRequest,
};
use tallymill_protocol::*;

#[derive(Clone)]
pub struct Fake(Arc<Shared>);

pub struct Shared {
    inner: Mutex<Inner>,
    pub down: AtomicBool,
    pub down_after_grant: AtomicBool,
    pub corrupt: AtomicBool,
    pub unreadable: AtomicBool,
    /// How far its clock is ahead of this machine's, µs.
    pub ahead: AtomicI64,
    pub lose_answers: AtomicU32,
    /// Whether calls that tell of void runs wait for their answer.
    pub hold_voids: AtomicBool,
    pub forget_logins: AtomicU32,
    /// Tokens of this many logins are worth no answer: the connection ends instead, as it can under a long report.
    pub cut_logins: AtomicU32,
}

impl std::ops::Deref for Fake {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

pub struct Inner {
    pub pair: Keypair,
    pub lease_signer: Option<Keypair>,
    pub bindings: Vec<HostBinding>,
    pub logins: u32,
    pub grants: VecDeque<Grant>,
    pub stop: Vec<AttemptId>,
    pub attempts: Vec<AttemptId>,
    pub receipts: Vec<Receipt>,
    pub outputs: Vec<Vec<u8>>,
    pub voids: Vec<VoidEntry>,
    pub reports: Vec<Report>,
    pub requests: Vec<WorkRequest>,
    pub seen: HashMap<Digest, u32>,
    pub uploaded: Vec<Digest>,
    pub verdict: Verdict,
    /// Where the chain of reports stands; absent: any report is taken.
    pub chain: Option<Position>,
    /// Who signs the jobs that are leased next.
    pub signer: Keypair,
    /// Whose they say they are; absent: of the account that begins with the signer's key.
    pub submitter: Option<AccountId>,
    /// The keys of every submitter, as it tells them.
    pub keys: KeyChain,
    /// How the jobs that are leased next divide their tasks.
    steps: Option<Steps>,
    blobs: HashMap<Digest, Vec<u8>>,
    manifests: HashMap<String, Vec<u8>>,
}

const MODULE: &[u8] = b"a module";
const INPUTS: [&[u8]; 4] = [b"alpha", b"beta", b"gamma", b"delta"];

fn here() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

pub fn network() -> Network {
    Network::new("test.example/net").unwrap()
}

impl Fake {
    pub async fn start() -> (Self, String) {
        let inner = Inner {
            pair: Keypair::from_secret(&[1; 32]),
            lease_signer: None,
            bindings: Vec::new(),
            logins: 0,
            grants: VecDeque::new(),
            stop: Vec::new(),
            attempts: Vec::new(),
            receipts: Vec::new(),
            outputs: Vec::new(),
            voids: Vec::new(),
            reports: Vec::new(),
            requests: Vec::new(),
            seen: HashMap::new(),
            uploaded: Vec::new(),
            verdict: Verdict::Settled,
            chain: None,
            signer: Keypair::from_secret(&[2; 32]),
            submitter: None,
            keys: KeyChain::default(),
            steps: None,
            blobs: HashMap::from([(Digest::of(MODULE), MODULE.to_vec())]),
            manifests: HashMap::new(),
        };
        let fake = Self(Arc::new(Shared {
            inner: Mutex::new(inner),
            down: AtomicBool::new(false),
            down_after_grant: AtomicBool::new(false),
            corrupt: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            ahead: AtomicI64::new(0),
            lose_answers: AtomicU32::new(0),
            hold_voids: AtomicBool::new(false),
            forget_logins: AtomicU32::new(0),
            cut_logins: AtomicU32::new(0),
        }));
        let app = Router::new()
            .route("/api/v1/network", get(about))
            .route("/api/v1/accounts", post(account))
            .route("/api/v1/hosts", post(host))
            .route("/api/v1/login/challenge", post(challenge))
            .route("/api/v1/login", post(login))
            .route("/api/v1/jobs/{id}/manifest", get(manifest))
            .route("/api/v1/jobs/{id}/keys", get(keys))
            .route("/api/v1/blobs/{digest}", get(blob).put(upload))
            .route("/api/v1/work", post(work))
            .layer(DefaultBodyLimit::max(32 << 20))
            .with_state(fake.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (fake, url)
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap()
    }

    fn now(&self) -> Micros {
        Micros(here().strict_add_signed(self.ahead.load(SeqCst)))
    }

    pub fn recover(&self) {
        self.down_after_grant.store(false, SeqCst);
        self.down.store(false, SeqCst);
    }

    pub fn grant_range(&self, count: u32) {
        let mut inner = self.lock();
        let lease = inner.lease(self.now(), Inputs::Range { from: 0, count: 100 }, 0..count);
        inner.grants.push_back(Grant {
            lease,
            entries: Blob(Vec::new()),
            inputs: List::default(),
            proof: List::default(),
            states: List::default(),
        });
    }

    /// Task 0 of a long job, from where `start` says; `snapshot` can be had.
    pub fn grant_segment(&self, start: SegmentStart, snapshot: &[u8]) {
        let mut inner = self.lock();
        inner.steps = Some(Steps { budget: 1, segment: MIN_SEGMENT });
        let lease = inner.lease(self.now(), Inputs::Range { from: 0, count: 100 }, 0..1);
        inner.blobs.insert(Digest::of(snapshot), snapshot.to_vec());
        inner.grants.push_back(Grant {
            lease,
            entries: Blob(Vec::new()),
            inputs: List::default(),
            proof: List::default(),
            states: List(vec![start]),
        });
    }

    /// Tasks 1 and 2 of a table of four: the first input inline, the second by range.
    pub fn grant_table(&self, wrong: bool) {
        let proof = |proof: &mut Vec<Digest>| proof[0].0[0] ^= u8::from(wrong);
        self.grant_inputs(INPUTS, proof);
    }

    /// A table whose inline input is not the one that was submitted.
    pub fn grant_other_input(&self) {
        let mut sent = INPUTS;
        sent[1] = b"bet!";
        self.grant_inputs(sent, |_| {});
    }

    fn grant_inputs(&self, sent: [&[u8]; 4], tamper: impl Fn(&mut Vec<Digest>)) {
        let mut inner = self.lock();
        let (mut entries, mut offset, mut body) = (Vec::new(), 4 * 48, Vec::new());
        for input in INPUTS {
            let length = input.len() as u64;
            entries.push(TableEntry { offset, length, digest: Digest::of(input) }.to_bytes());
            offset += length;
            body.extend_from_slice(input);
        }
        let table = [entries.concat(), body].concat();
        let blob = Digest::of(&table);
        inner.blobs.insert(blob, table);
        let leaves: Vec<Digest> = entries.iter().map(|entry| merkle::leaf(entry)).collect();
        let root = merkle::root(&leaves);
        let lease = inner.lease(self.now(), Inputs::Table { root, count: 4, blob }, 1..3);
        let mut proof = merkle::range_proof(&leaves, 1, 3);
        tamper(&mut proof);
        inner.grants.push_back(Grant {
            lease,
            entries: Blob(entries[1..3].concat()),
            inputs: List(vec![Blob(sent[1].to_vec()), Blob(Vec::new())]),
            proof: List(proof),
            states: List::default(),
        });
    }

    pub fn stop_all(&self) {
        let mut inner = self.lock();
        inner.stop = inner.attempts.clone();
    }
}

impl Inner {
    fn lease(&mut self, now: Micros, inputs: Inputs, tasks: Range<u32>) -> Signed<Lease> {
        let submitter = self.submitter.unwrap_or(self.signer.public().into());
        let coordinator = CoordinatorId::from(self.pair.public());
        let manifest = Manifest {
            format: 1,
            network: network(),
            coordinators: List(vec![coordinator]),
            delegates: List::default(),
            nonce: Nonce([self.attempts.len() as u8; 16]),
            payer: submitter,
            submitter,
            module: Digest::of(MODULE),
            versions: tallymill_sandbox::versions(),
            inputs,
            limits: Limits::default(),
            seed: [0; 32],
            argv: List::default(),
            environment: List::default(),
            files: List::default(),
            policy: Policy::Trusted,
            tariff: Tariff::default(),
            budget: 1 << 40,
            deadline: now.plus(Micros::DAY),
            priority: 5,
            tags: List(vec![Text("physics".into())]),
            visibility: Visibility::Public,
            requirements: Requirements::default(),
            title: Text("test".into()),
            interface: if self.steps.is_some() { Interface::Step } else { Interface::Command },
            steps: self.steps,
        };
        let signed = self.signer.sign(&manifest);
        let job = Manifest::id_of(signed.payload());
        self.manifests.insert(job.to_string(), signed.to_bytes());
        let binding = self.bindings.last().unwrap();
        let attempt = AttemptId([self.attempts.len() as u8 + 1; 16]);
        let lease = Lease {
            format: 1,
            network: network(),
            coordinator,
            epoch: 1,
            job,
            first: TaskIndex(tasks.start),
            count: tasks.end - tasks.start,
            attempt,
            host: binding.host,
            owner: binding.owner,
            payer: manifest.payer,
            tariff: manifest.tariff,
            limits: manifest.limits,
            versions: manifest.versions,
            nonce: Nonce([3; 16]),
            issued: now,
            expiry: now.plus(60 * Micros::SECOND),
            module: manifest.module,
        };
        self.attempts.push(attempt);
        self.lease_signer.as_ref().unwrap_or(&self.pair).sign(&lease)
    }

    fn take(&mut self, upload: &ReportUpload) -> ReportAnswer {
        let report = upload.report.open(upload.report.signer()).unwrap();
        assert!(report.covers(upload.receipts.0.iter().map(|bytes| bytes.0.as_slice())));
        let known = self.seen.contains_key(&report.root);
        if let Some(next) = self.chain.filter(|_| !known) {
            if (report.sequence, report.previous) != (next.sequence, next.previous) {
                let (verdicts, reason) = (List::default(), Text("out of order".into()));
                return ReportAnswer { root: report.root, verdicts, reason, next: Some(next) };
            }
            let sequence = report.sequence + 1;
            self.chain = Some(Position { sequence, previous: report.digest() });
        }
        let times = self.seen.entry(report.root).or_insert(0);
        *times += 1;
        if *times == 1 {
            let receipts = upload.receipts.0.iter().map(|b| Receipt::from_bytes(&b.0).unwrap());
            self.receipts.extend(receipts);
            self.reports.push(report.clone());
            self.outputs.extend(upload.outputs.0.iter().map(|bytes| bytes.0.clone()));
        }
        let verdicts = List(vec![self.verdict as u8; upload.receipts.0.len()]);
        let reason = if self.verdict == Verdict::Refused { "because" } else { "" };
        ReportAnswer { root: report.root, verdicts, reason: Text(reason.into()), next: None }
    }
}

async fn about(State(fake): State<Fake>) -> Json<Value> {
    Json(
        json!({ "network": network().as_str(), "coordinator": fake.lock().pair.public().to_string() }),
    )
}

async fn account(body: Bytes) -> StatusCode {
    let signed = Signed::<AccountStatement>::from_bytes(&body).unwrap();
    let statement = signed.peek().unwrap();
    signed.open(&Key::from(statement.account)).unwrap();
    StatusCode::CREATED
}

async fn host(State(fake): State<Fake>, body: Bytes) -> Json<Value> {
    let signed = Signed::<HostBinding>::from_bytes(&body).unwrap();
    let binding = signed.peek().unwrap();
    signed.open(&Key::from(binding.owner)).unwrap();
    fake.lock().bindings.push(binding);
    Json(json!({ "sequence": "0", "last_report": Digest::ZERO.to_string(), "expiry": "0" }))
}

async fn challenge(State(fake): State<Fake>, headers: HeaderMap) -> Json<Value> {
    assert_eq!(headers["tallymill-protocol"], "1");
    let expiry = fake.now().plus(60 * Micros::SECOND).0.to_string();
    Json(json!({ "nonce": Nonce([5; 16]).to_string(), "expiry": expiry, "audience": "" }))
}

async fn login(State(fake): State<Fake>, body: Bytes) -> Json<Value> {
    let signed = Signed::<Login>::from_bytes(&body).unwrap();
    let login = signed.open(signed.signer()).unwrap();
    assert_eq!(login.purpose.0, "worker");
    let mut inner = fake.lock();
    inner.logins += 1;
    let token = inner.logins.to_string();
    drop(inner);
    Json(json!({ "token": token, "expires": fake.now().plus(3600 * Micros::SECOND).0.to_string() }))
}

async fn keys(State(fake): State<Fake>) -> Vec<u8> {
    fake.lock().keys.to_bytes()
}

async fn manifest(State(fake): State<Fake>, Path(id): Path<String>) -> Vec<u8> {
    fake.lock().manifests[&id].clone()
}

async fn blob(
    State(fake): State<Fake>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, Vec<u8>) {
    let mut bytes = fake.lock().blobs[&digest.parse().unwrap()].clone();
    if fake.corrupt.load(SeqCst) {
        bytes[0] ^= 1;
    }
    let Some(range) = headers.get("range") else { return (StatusCode::OK, bytes) };
    let (from, to) = range.to_str().unwrap()["bytes=".len()..].split_once('-').unwrap();
    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
    (StatusCode::PARTIAL_CONTENT, bytes[from..=to].to_vec())
}

async fn upload(State(fake): State<Fake>, Path(digest): Path<String>, body: Bytes) -> StatusCode {
    let digest = digest.parse().unwrap();
    assert_eq!(Digest::of(&body), digest);
    fake.lock().uploaded.push(digest);
    StatusCode::CREATED
}

async fn work(State(fake): State<Fake>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    if token.parse::<u32>().unwrap() <= fake.cut_logins.load(SeqCst) {
        // Ends the connection, without the words of a panic.
        std::panic::resume_unwind(Box::new("cut"));
    }
    let failed = |status| (status, Vec::new());
    if fake.down.load(SeqCst) {
        return failed(StatusCode::SERVICE_UNAVAILABLE);
    }
    let less = |left: u32| left.checked_sub(1);
    if fake.forget_logins.fetch_update(SeqCst, SeqCst, less).is_ok() {
        return failed(StatusCode::UNAUTHORIZED);
    }
    let request = WorkRequest::from_bytes(&body).unwrap();
    if fake.unreadable.load(SeqCst) && !request.reports.0.is_empty() {
        return failed(StatusCode::BAD_REQUEST);
    }
    fake.lock().requests.push(request.clone());
    while !request.voids.0.is_empty() && fake.hold_voids.load(SeqCst) {
        tokio::task::yield_now().await;
    }
    let mut inner = fake.lock();
    let answers: Vec<_> = request.reports.0.iter().map(|upload| inner.take(upload)).collect();
    if !answers.is_empty() && fake.lose_answers.fetch_update(SeqCst, SeqCst, less).is_ok() {
        return failed(StatusCode::SERVICE_UNAVAILABLE);
    }
    inner.voids.extend(request.voids.0);
    let grants: Vec<Grant> =
        if request.buffer > 0 { inner.grants.drain(..).collect() } else { Vec::new() };
    if !grants.is_empty() && fake.down_after_grant.load(SeqCst) {
        fake.down.store(true, SeqCst);
    }
    let reply = WorkReply {
        answers: List(answers),
        grants: List(grants),
        stop: List(inner.stop.clone()),
        reasons: List(vec![Text("nothing to do".into())]),
        now: fake.now(),
    };
    (StatusCode::OK, reply.to_bytes())
}
