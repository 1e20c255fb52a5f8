//! Many hosts in one process: real keys, signatures and connections, and nothing behind them that computes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tallymill_protocol::cbor::{Blob, List, Text};
use tallymill_protocol::work::{
    Accept, Grant, Progress, ReportAnswer, ReportUpload, WorkReply, WorkRequest,
};
use tallymill_protocol::{
    CoordinatorId, Digest, HostBinding, Key, Keypair, Lease, Login, Message as _, Micros, Network,
    Nonce, Outcome, Receipt, Report, merkle,
};

/// How long a binding of these hosts holds.
const BOUND: u64 = 24 * 3_600 * Micros::SECOND;
/// Most time that one call waits for work, ms.
const WAIT: u32 = 45_000;
/// Fuel that a task says it used.
const FUEL: u64 = 1_000;
/// What every task writes.
const OUTPUT: &[u8] = b"done\n";

/// The coordinator as hosts know it.
pub(crate) struct Place {
    client: reqwest::Client,
    url: String,
    network: Network,
    coordinator: CoordinatorId,
}

/// A machine that has joined.
pub(crate) struct Host {
    place: Arc<Place>,
    pair: Keypair,
    owner: Key,
    token: String,
    sequence: u64,
    previous: Digest,
}

/// What a host was told, in figures.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) reports: u64,
    pub(crate) tasks: u64,
    pub(crate) leases: u64,
}

impl Place {
    pub(crate) async fn find(url: &str) -> anyhow::Result<Self> {
        // As workers have it: ten thousand probes at once are more than a loopback device queues.
        let client = tallymill_transport::plain()?
            .pool_max_idle_per_host(usize::MAX)
            .tcp_user_timeout(Duration::from_secs(60))
            .build()?;
        let asked = client.get(format!("{url}/api/v1/network")).header("tallymill-protocol", "1");
        let about: Value = asked.send().await?.error_for_status()?.json().await?;
        let network = about["network"].as_str().and_then(Network::new).context("no network")?;
        let coordinator = about["coordinator"].as_str().and_then(|id| id.parse().ok());
        let coordinator = coordinator.context("no coordinator")?;
        Ok(Self { client, url: url.to_owned(), network, coordinator })
    }

    async fn post(
        &self,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
    ) -> anyhow::Result<Vec<u8>> {
        let request = self.client.post(format!("{}{path}", self.url)).body(body);
        let request = request.header("tallymill-protocol", "1");
        let request = token.into_iter().fold(request, |request, it| request.bearer_auth(it));
        let answer = request.send().await?;
        let (status, body) = (answer.status(), answer.bytes().await?);
        ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&body));
        Ok(body.to_vec())
    }

    async fn json(&self, path: &str, body: Vec<u8>) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.post(path, None, body).await?)?)
    }

    /// A token for this key, as `api` or as `worker`.
    pub(crate) async fn login(&self, pair: &Keypair, purpose: &str) -> anyhow::Result<String> {
        let ask = json!({ "key": pair.public().to_string(), "purpose": purpose });
        let asked = self.json("/api/v1/login/challenge", ask.to_string().into()).await?;
        let text = |field: &str| asked[field].as_str().context("a challenge lacks a field");
        let login = Login {
            format: 1,
            audience: self.coordinator.into(),
            origin: Text(self.url.clone()),
            purpose: Text(purpose.into()),
            nonce: text("nonce")?.parse::<Nonce>().map_err(|error| anyhow::anyhow!("{error}"))?,
            expiry: Micros(text("expiry")?.parse()?),
            signer: pair.public(),
        };
        let made = self.json("/api/v1/login", pair.sign(&login).to_bytes()).await?;
        Ok(made["token"].as_str().context("a login gives no token")?.to_owned())
    }
}

fn now() -> Micros {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX))
}

impl Host {
    /// Makes the host with this number, of an owner whose account is known already.
    pub(crate) async fn join(
        place: Arc<Place>,
        owner: &Keypair,
        number: u32,
    ) -> anyhow::Result<Self> {
        let secret = Digest::of(format!("host {number} of {}", owner.public()).as_bytes());
        let pair = Keypair::from_secret(&secret.0);
        let issued = now();
        let binding = HostBinding {
            format: 1,
            network: place.network.clone(),
            host: pair.public().into(),
            owner: owner.public().into(),
            issued,
            expiry: issued.plus(BOUND),
        };
        place.json("/api/v1/hosts", owner.sign(&binding).to_bytes()).await?;
        let token = place.login(&pair, "worker").await?;
        let owner = owner.public();
        Ok(Self { place, pair, owner, token, sequence: 0, previous: Digest::ZERO })
    }

    /// Waits for work and takes none, again and again.
    pub(crate) async fn idle(self) -> anyhow::Result<()> {
        loop {
            self.call(List::default(), List::default(), Micros::SECOND).await?;
        }
    }

    /// Works until `until`: for each task of a lease it lets `each` pass and says so.
    pub(crate) async fn work(mut self, each: Duration, until: tokio::time::Instant) -> Told {
        let mut told = Told::default();
        let mut reports = List::default();
        while tokio::time::Instant::now() < until {
            let sent = std::mem::take(&mut reports);
            let Ok(reply) = self.call(sent, List::default(), 60 * Micros::SECOND).await else {
                // A coordinator that is too busy shows in the figures.
                tokio::time::sleep(each).await;
                continue;
            };
            let settled = |answer: &ReportAnswer| u64::try_from(answer.verdicts.0.len());
            told.reports += u64::try_from(reply.answers.0.len()).unwrap_or(0);
            told.tasks += reply.answers.0.iter().filter_map(|a| settled(a).ok()).sum::<u64>();
            for grant in reply.grants.0 {
                told.leases += 1;
                let Ok(lease) = grant.lease.peek() else { continue };
                tokio::time::sleep(each * lease.count).await;
                reports.0.push(self.report(&grant, &lease, each));
            }
        }
        told
    }

    async fn call(
        &self,
        reports: List<ReportUpload, 64>,
        progress: List<Progress, 1024>,
        buffer: u64,
    ) -> anyhow::Result<WorkReply> {
        let request = WorkRequest {
            slots: 1,
            reports,
            progress,
            buffer,
            wait: WAIT,
            modules: List::default(),
            min_tariff: 0,
            features: List::default(),
            round_trip: 1_000,
            accept: Accept::default(),
            voids: List::default(),
            // What it had it has done, and reports with this call.
            held: Some(List::default()),
        };
        let answer = self.place.post("/api/v1/work", Some(&self.token), request.to_bytes()).await?;
        WorkReply::from_bytes(&answer).map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn report(&mut self, grant: &Grant, lease: &Lease, each: Duration) -> ReportUpload {
        let digest = Lease::digest_of(grant.lease.payload());
        let receipts: Vec<Vec<u8>> = (lease.first.0..lease.first.0 + lease.count)
            .map(|task| self.receipt(lease, (digest, task), each).to_bytes())
            .collect();
        let leaves: Vec<Digest> = receipts.iter().map(|receipt| merkle::leaf(receipt)).collect();
        let report = Report {
            format: 1,
            network: self.place.network.clone(),
            host: self.pair.public().into(),
            count: lease.count,
            root: merkle::root(&leaves),
            sequence: self.sequence,
            previous: self.previous,
            coordinator: lease.coordinator,
            epoch: lease.epoch,
        };
        (self.sequence, self.previous) = (self.sequence + 1, report.digest());
        let blobs = |bytes: &[u8]| List(receipts.iter().map(|_| Blob(bytes.to_vec())).collect());
        ReportUpload {
            report: self.pair.sign(&report),
            leases: List(vec![grant.lease.clone()]),
            outputs: blobs(OUTPUT),
            logs: List(receipts.iter().map(|_| Blob(Vec::new())).collect()),
            receipts: List(receipts.into_iter().map(Blob).collect()),
        }
    }

    fn receipt(
        &self,
        lease: &Lease,
        (digest, task): (tallymill_protocol::LeaseDigest, u32),
        each: Duration,
    ) -> Receipt {
        let cpu_time = u64::try_from(each.as_micros()).unwrap_or(u64::MAX);
        let salt = Digest::of(format!("{} {task} {}", self.owner, self.sequence).as_bytes()).0;
        Receipt {
            format: 1,
            lease: digest,
            task: tallymill_protocol::TaskIndex(task),
            input: Digest::of(format!("{task}\n").as_bytes()),
            output: Digest::of(OUTPUT),
            outcome: Outcome::Exited(0),
            fuel: FUEL,
            peak_memory: 65_536,
            memory_fuel: FUEL,
            bytes_in: 1 + u64::from(task.checked_ilog10().unwrap_or(0) + 1),
            bytes_out: u64::try_from(OUTPUT.len()).unwrap_or(0),
            module: lease.module,
            metered: Digest::ZERO,
            log: Digest::of(b""),
            segment: None,
            engine: Text("synthetic".into()),
            cpu_time,
            started: now(),
            finished: now(),
            salt,
        }
    }
}
