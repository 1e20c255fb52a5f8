//! A coordinator with people who submit and hosts that sign whatever a test wants.

use std::sync::Arc;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tallymill_coordinator::{Handle, Options, TlsFiles};
use tallymill_protocol::cbor::{Blob, List, Text};
use tallymill_protocol::work::{
    Accept, ReportAnswer, ReportUpload, VoidEntry, WorkReply, WorkRequest,
};
use tallymill_protocol::*;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The smallest program that the profile takes.
pub const MODULE: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// Somebody who makes certificates, and a folder for what it made.
pub struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// Files of a server on this machine.
    pub fn issue(&self) -> TlsFiles {
        let path = |name| self.folder.path().join(name);
        let files = TlsFiles { cert: path("cert.pem"), key: path("key.pem") };
        self.renew(&files);
        files
    }

    /// Puts a new certificate and key in the place of these.
    pub fn renew(&self, files: &TlsFiles) {
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        for (path, text) in [(&files.cert, made.pem()), (&files.key, key.serialize_pem())] {
            let new = path.with_extension("new");
            std::fs::write(&new, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&new, mode).unwrap();
            std::fs::rename(new, path).unwrap();
        }
    }

    /// A client that trusts it.
    pub fn client(&self) -> reqwest::Client {
        let url = tallymill_transport::origin("https://127.0.0.1").unwrap();
        let ca = self.folder.path().join("ca.pem");
        tallymill_transport::client(&url, Some(&ca)).unwrap().build().unwrap()
    }

    /// A stream of TLS to this address that trusts it.
    pub async fn dial(&self, addr: std::net::SocketAddr) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = TcpStream::connect(addr).await.unwrap();
        let name = addr.ip().into();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

pub struct World {
    pub handle: Handle,
    pub url: String,
    pub client: reqwest::Client,
    pub operator: Keypair,
    data: tempfile::TempDir,
}

/// Somebody with a key and a login.
#[derive(Clone)]
pub struct Person {
    pub pair: Arc<Keypair>,
    pub token: String,
}

/// A host that says what a test wants.
pub struct Worker {
    pub person: Person,
    pub sequence: u64,
    pub previous: Digest,
}

pub fn network() -> Network {
    Network::new("test <b>net</b>").unwrap()
}

pub fn now() -> Micros {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Micros(u64::try_from(since.as_micros()).unwrap())
}

/// A client that speaks plain HTTP.
pub fn client() -> reqwest::Client {
    tallymill_transport::plain().unwrap().build().unwrap()
}

fn options(data: &std::path::Path, operator: &Keypair) -> Options {
    let mut options = Options::new("127.0.0.1:0".parse().unwrap(), data.to_owned(), network());
    options.operators = vec![operator.public().into()];
    options.bounds.blob = 4_096;
    options
}

async fn serve(
    data: &std::path::Path,
    operator: &Keypair,
    change: impl FnOnce(&mut Options),
) -> (Handle, String) {
    let mut options = options(data, operator);
    change(&mut options);
    let scheme = options.scheme();
    let handle = tallymill_coordinator::start(options).await.unwrap();
    let url = format!("{scheme}://{}", handle.addr);
    (handle, url)
}

pub async fn problem(response: Response, status: u16) -> Value {
    let (found, kind) = (response.status(), response.headers()["content-type"].clone());
    let text = response.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    assert_eq!(kind, "application/problem+json");
    serde_json::from_str(&text).unwrap()
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A coordinator that takes blobs up to this length.
    pub async fn with_blobs(blob: u64) -> Self {
        Self::start_with(|options| options.bounds.blob = blob).await
    }

    /// Starts with options that a test changes.
    pub async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let operator = Keypair::from_secret(&[1; 32]);
        let (handle, url) = serve(data.path(), &operator, change).await;
        Self { handle, url, client: client(), operator, data }
    }

    /// The same over TLS, with a certificate for 127.0.0.1 of this authority, which its client trusts.
    pub async fn secure(authority: &Authority, change: impl FnOnce(&mut Options)) -> Self {
        let files = authority.issue();
        let tls = |options: &mut Options| {
            options.tls = Some(files);
            change(options);
        };
        let world = Self::start_with(tls).await;
        Self { client: authority.client(), ..world }
    }

    /// Where it keeps its files.
    pub fn data(&self) -> &std::path::Path {
        self.data.path()
    }

    /// Takes a blob away from under the coordinator.
    pub fn lose_blob(&self, digest: Digest) {
        std::fs::remove_file(self.data.path().join("blobs").join(digest.to_string())).unwrap();
    }

    /// Makes the disk fail where a blob would be.
    pub fn break_blob(&self, digest: Digest) {
        let path = self.data.path().join("blobs").join(digest.to_string());
        std::os::unix::fs::symlink(&path, &path).unwrap();
    }

    /// Makes the disk full for the next uploads of a blob: a device that takes no byte stands where they are written.
    pub fn fill_disk(&self, digest: Digest) -> Vec<std::path::PathBuf> {
        let path = |number| self.data.path().join("blobs").join(format!("{digest}.{number}.tmp"));
        let links: Vec<_> = (0..100).map(path).filter(|path| !path.exists()).collect();
        links.iter().for_each(|link| std::os::unix::fs::symlink("/dev/full", link).unwrap());
        links
    }

    /// Starts with this key on this store.
    pub async fn on(key: Keypair, store: Arc<dyn tallymill_storage::Store>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let operator = Keypair::from_secret(&[1; 32]);
        let options = options(data.path(), &operator);
        let handle = tallymill_coordinator::start_with(options, key, store).await.unwrap();
        let url = format!("http://{}", handle.addr);
        Self { handle, url, client: client(), operator, data }
    }

    /// Starts on the database at this place.
    pub async fn over(key: Keypair, place: &tallymill_storage::Place) -> Self {
        let (network, coordinator) = (network(), key.public().into());
        let store = place.open(&tallymill_storage::Identity { network, coordinator }).await;
        Self::on(key, store.unwrap()).await
    }

    /// Stops and starts again on the same data.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same with options that a test changes.
    pub async fn restart_with(self, change: impl FnOnce(&mut Options)) -> Self {
        self.handle.shutdown().await.unwrap();
        let (handle, url) = serve(self.data.path(), &self.operator, change).await;
        Self { handle, url, ..self }
    }

    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).header("tallymill-protocol", "1")
    }

    pub async fn challenge(&self, pair: &Keypair, purpose: &str) -> Login {
        let ask = json!({ "key": pair.public().to_string(), "purpose": purpose }).to_string();
        let asked = self.call(Method::POST, "/api/v1/login/challenge").body(ask).send();
        let asked: Value = asked.await.unwrap().json().await.unwrap();
        Login {
            format: 1,
            audience: self.handle.key,
            origin: Text(self.url.clone()),
            purpose: Text(purpose.into()),
            nonce: asked["nonce"].as_str().unwrap().parse::<Nonce>().unwrap(),
            expiry: Micros(asked["expiry"].as_str().unwrap().parse().unwrap()),
            signer: pair.public(),
        }
    }

    pub async fn post(&self, path: &str, body: Vec<u8>) -> Response {
        self.call(Method::POST, path).body(body).send().await.unwrap()
    }

    pub async fn token(&self, pair: &Keypair, purpose: &str) -> String {
        let login = self.challenge(pair, purpose).await;
        let answer = self.post("/api/v1/login", pair.sign(&login).to_bytes()).await;
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned()
    }

    pub async fn as_person(
        &self,
        who: &Person,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Response {
        self.call(method, path).bearer_auth(&who.token).body(body).send().await.unwrap()
    }

    pub async fn get(&self, who: &Person, path: &str) -> Response {
        self.as_person(who, Method::GET, path, Vec::new()).await
    }

    /// An account with this number as its secret and so many credits.
    pub async fn person(&self, number: u8, credits: u64) -> Person {
        let pair = Arc::new(Keypair::from_secret(&[number; 32]));
        let statement = AccountStatement {
            format: 1,
            network: network(),
            account: pair.public().into(),
            recovery: Digest::ZERO,
            issued: Micros(1),
        };
        self.post("/api/v1/accounts", pair.sign(&statement).to_bytes()).await;
        let token = self.token(&pair, "api").await;
        if credits > 0 {
            let amount = (credits * 1_000_000).to_string();
            let body = json!({ "to": pair.public().to_string(), "amount": amount }).to_string();
            // Only known accounts are operators.
            let operator = Box::pin(self.person(1, 0)).await;
            let path = "/api/v1/admin/grant";
            let granted = self.as_person(&operator, Method::POST, path, body.into_bytes()).await;
            assert_eq!(granted.status(), 200);
        }
        Person { pair, token }
    }

    /// A host of `owner` with this number as its secret.
    pub async fn host(&self, number: u8, owner: &Person) -> Worker {
        let pair = Arc::new(Keypair::from_secret(&[number; 32]));
        let binding = HostBinding {
            format: 1,
            network: network(),
            host: pair.public().into(),
            owner: owner.pair.public().into(),
            issued: now(),
            expiry: now().plus(3_600 * Micros::SECOND),
        };
        let body = owner.pair.sign(&binding).to_bytes();
        let joined = self.as_person(owner, Method::POST, "/api/v1/hosts", body).await;
        assert_eq!(joined.status(), 200, "{}", joined.text().await.unwrap());
        let token = self.token(&pair, "worker").await;
        Worker { person: Person { pair, token }, sequence: 0, previous: Digest::ZERO }
    }

    pub async fn upload(&self, who: &Person, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let path = format!("/api/v1/blobs/{digest}");
        let put = self.as_person(who, Method::PUT, &path, bytes.to_vec()).await;
        assert_eq!(put.status(), 201);
        digest
    }

    /// A job of `payer` over `count` numbers that runs on the payer's own hosts.
    pub async fn manifest(&self, payer: &Person, count: u32) -> Manifest {
        let module = self.upload(payer, &wat::parse_str(MODULE).unwrap()).await;
        Manifest {
            format: 1,
            network: network(),
            coordinators: List(vec![self.handle.key.into()]),
            delegates: List::default(),
            nonce: Nonce([0; 16]),
            payer: payer.pair.public().into(),
            submitter: payer.pair.public().into(),
            module,
            versions: tallymill_sandbox::versions(),
            inputs: Inputs::Range { from: 0, count },
            limits: Limits { fuel: 1_000_000, ..Limits::default() },
            seed: [0; 32],
            argv: List::default(),
            environment: List::default(),
            files: List::default(),
            policy: Policy::Trusted,
            tariff: Tariff::default(),
            budget: 1_000_000_000,
            deadline: now().plus(3_600 * Micros::SECOND),
            priority: 5,
            tags: List::default(),
            visibility: Visibility::Public,
            requirements: Requirements::default(),
            title: Text("a <i>job</i>".into()),
            interface: Interface::Command,
            steps: None,
        }
    }

    pub async fn submit(&self, who: &Person, manifest: &Manifest) -> Response {
        let body = who.pair.sign(manifest).to_bytes();
        self.as_person(who, Method::POST, "/api/v1/jobs", body).await
    }

    pub async fn submitted(&self, who: &Person, manifest: &Manifest) -> String {
        let answer = self.submit(who, manifest).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 201, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned()
    }

    pub async fn work(&self, worker: &Worker, request: &WorkRequest) -> WorkReply {
        let body = request.to_bytes();
        let answer = self.as_person(&worker.person, Method::POST, "/api/v1/work", body).await;
        let (status, bytes) = (answer.status(), answer.bytes().await.unwrap());
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&bytes));
        WorkReply::from_bytes(&bytes).unwrap()
    }

    /// One lease for a host that had nothing.
    pub async fn lease(&self, worker: &Worker) -> Signed<Lease> {
        let mut reply = self.work(worker, &asking()).await;
        assert_eq!(reply.grants.0.len(), 1, "{:?}", reply.reasons);
        reply.grants.0.remove(0).lease
    }

    /// Sends a report and gives the answer to it.
    pub async fn report(&self, worker: &Worker, upload: ReportUpload) -> ReportAnswer {
        let request = WorkRequest { reports: List(vec![upload]), buffer: 0, ..asking() };
        self.work(worker, &request).await.answers.0.remove(0)
    }
}

/// A request for one second of work, without waiting.
pub fn asking() -> WorkRequest {
    WorkRequest {
        slots: 1,
        reports: List::default(),
        progress: List::default(),
        buffer: Micros::SECOND,
        wait: 0,
        modules: List::default(),
        min_tariff: 0,
        features: List::default(),
        round_trip: 1,
        accept: Accept::default(),
        voids: List::default(),
        held: None,
    }
}

pub fn withdrawn(lease: &Lease) -> VoidEntry {
    let cause = work::VoidCause::Withdrawn as u8;
    VoidEntry { attempt: lease.attempt, task: lease.first, cause, detail: Text(String::new()) }
}

/// What an honest run of the lease's first task says, with this output.
pub fn receipt(lease: &Lease, output: &[u8]) -> Receipt {
    Receipt {
        format: 1,
        lease: lease.digest(),
        task: lease.first,
        input: Digest::of(b""),
        output: Digest::of(output),
        outcome: Outcome::Exited(0),
        fuel: 100,
        peak_memory: 65_536,
        memory_fuel: 100,
        bytes_in: 0,
        bytes_out: output.len() as u64,
        module: lease.module,
        metered: Digest::ZERO,
        log: Digest::of(b""),
        segment: None,
        engine: Text("fake".into()),
        cpu_time: 1,
        started: Micros(1),
        finished: Micros(2),
        salt: [0; 32],
    }
}

impl Worker {
    /// The report that covers these receipts, unsigned.
    pub fn covering(&self, lease: &Lease, receipts: &[Receipt]) -> Report {
        let leaves: Vec<Digest> = receipts.iter().map(|r| merkle::leaf(&r.to_bytes())).collect();
        Report {
            format: 1,
            network: network(),
            host: self.person.pair.public().into(),
            count: u32::try_from(receipts.len()).unwrap(),
            root: merkle::root(&leaves),
            sequence: self.sequence,
            previous: self.previous,
            coordinator: lease.coordinator,
            epoch: lease.epoch,
        }
    }

    /// A signed report; `outputs` empty means uploaded as blobs.
    pub fn upload(
        &self,
        token: &Signed<Lease>,
        receipts: &[Receipt],
        output: &[u8],
    ) -> ReportUpload {
        let report = self.covering(&token.peek().unwrap(), receipts);
        ReportUpload {
            report: self.person.pair.sign(&report),
            leases: List(vec![token.clone()]),
            receipts: List(receipts.iter().map(|receipt| Blob(receipt.to_bytes())).collect()),
            outputs: List(receipts.iter().map(|_| Blob(output.to_vec())).collect()),
            logs: List(receipts.iter().map(|_| Blob(Vec::new())).collect()),
        }
    }
}
