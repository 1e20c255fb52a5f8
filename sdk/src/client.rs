//! The client: one coordinator, one key.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde::Deserialize;
use tallymill_protocol::{
    AccountId, AccountStatement, CoordinatorId, Digest, HostId, JobId, Manifest, Message as _,
    Micros, Network, Nonce, Revocation, Rotation, Versions,
};

use crate::http::{Body, Http};
use crate::job::Setting;
use crate::model::{AccountView, JobView, KeyStatementView, NetworkView, Page, TransferView};
use crate::{Error, Job, JobHandle, KeyFile, Quote};

/// A connection to one coordinator. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) http: Arc<Http>,
    network: Network,
    coordinator: CoordinatorId,
    versions: Versions,
}

#[derive(Debug, Deserialize)]
struct Submitted {
    id: String,
    #[serde(default)]
    warnings: Vec<String>,
}

/// The time now, for deadlines and statements.
pub(crate) fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

fn answer(what: &str) -> impl Fn(tallymill_protocol::ParseIdError) -> Error + '_ {
    move |e| Error::Answer(format!("{what}: {e}"))
}

impl Client {
    /// Connects, proves the key and opens an account when it has none.
    ///
    /// # Errors
    /// When nobody answers, the answer is not this protocol, or the coordinator admits no one.
    pub async fn connect(url: &str, key: KeyFile) -> Result<Self, Error> {
        Self::connect_trusting(url, key, None).await
    }

    /// The same; over https the authorities in the file `ca` (PEM) are trusted beside the system's.
    ///
    /// # Errors
    /// As [`Self::connect`], and when that file cannot be read.
    pub async fn connect_trusting(
        url: &str,
        key: KeyFile,
        ca: Option<&Path>,
    ) -> Result<Self, Error> {
        let http = Http::new(url, key, ca)?;
        let view: NetworkView = http.open(Method::GET, "/api/v1/network", Body::Nothing).await?;
        let network =
            Network::new(&view.network).ok_or_else(|| Error::Answer("network name".to_owned()))?;
        let client = Self {
            network,
            coordinator: view.coordinator.parse().map_err(answer("coordinator"))?,
            versions: Versions {
                meter: view.versions.meter,
                costs: view.versions.costs.parse().map_err(answer("cost table"))?,
                profile: view.versions.profile,
            },
            http: Arc::new(http),
        };
        client.open_account().await?;
        Ok(client)
    }

    async fn open_account(&self) -> Result<(), Error> {
        let key = self.http.key();
        if key.account() != key.pair().public().into() {
            return Ok(()); // A rotated key belongs to an account that exists.
        }
        let statement = AccountStatement {
            format: 1,
            network: self.network.clone(),
            account: self.account(),
            recovery: Digest::of(key.recovery().public().as_bytes()),
            issued: now(),
        };
        let body = Body::Cbor(key.pair().sign(&statement).to_bytes());
        match self.http.call(Method::POST, "/api/v1/accounts", body).await {
            // It is published already.
            Err(Error::Refused(problem)) if problem.status == 409 => Ok(()),
            other => other.map(drop),
        }
    }

    /// The account this client speaks for.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.http.key().account()
    }

    /// The coordinator's key.
    #[must_use]
    pub const fn coordinator(&self) -> CoordinatorId {
        self.coordinator
    }

    /// The coordinator's address.
    #[must_use]
    pub fn url(&self) -> &str {
        self.http.base()
    }

    fn manifest(&self, job: &Job, budget: u64) -> Result<Manifest, Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|e| Error::Answer(format!("no randomness: {e}")))?;
        let setting = Setting {
            network: self.network.clone(),
            coordinator: self.coordinator,
            account: self.account(),
            versions: self.versions,
            nonce: Nonce(nonce),
            now: now(),
        };
        job.manifest(setting, budget)
    }

    /// What the job can cost at most. Uploads its blobs, so that the module is checked too.
    ///
    /// # Errors
    /// When the job or its module is refused.
    pub async fn quote(&self, job: &Job) -> Result<Quote, Error> {
        self.upload(job).await?;
        let manifest = self.http.key().pair().sign(&self.manifest(job, u64::from(u32::MAX))?);
        self.http.json(Method::POST, "/api/v1/quote", Body::Cbor(manifest.to_bytes())).await
    }

    /// Submits the job; its budget is the cap of the quote unless the job names one.
    ///
    /// # Errors
    /// When it is refused or the account cannot pay.
    pub async fn submit(&self, job: &Job) -> Result<JobHandle, Error> {
        let quote = self.quote(job).await?;
        let manifest = self.manifest(job, u64::try_from(quote.cap).unwrap_or(0))?;
        let signed = self.http.key().pair().sign(&manifest);
        let made: Submitted =
            self.http.json(Method::POST, "/api/v1/jobs", Body::Cbor(signed.to_bytes())).await?;
        let id: JobId = made.id.parse().map_err(answer("job id"))?;
        if id != Manifest::id_of(signed.payload()) {
            return Err(Error::Answer(format!("job {id} is not the one that was signed")));
        }
        Ok(JobHandle::new(self.clone(), id).warned(made.warnings))
    }

    async fn upload(&self, job: &Job) -> Result<(), Error> {
        for blob in job.blobs() {
            let path = format!("/api/v1/blobs/{}", Digest::of(&blob));
            self.http.call(Method::PUT, &path, Body::Raw(blob)).await?;
        }
        Ok(())
    }

    /// Downloads a blob and checks its digest.
    ///
    /// # Errors
    /// When it is not there, may not be read, or does not match.
    pub async fn blob(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        self.download(&format!("/api/v1/blobs/{digest}"), digest).await
    }

    /// Downloads what is at `path` and checks that it has this digest.
    pub(crate) async fn download(&self, path: &str, digest: Digest) -> Result<Vec<u8>, Error> {
        let response = self.http.call(Method::GET, path, Body::Nothing).await?;
        let bytes = response.bytes().await.map_err(|e| self.http.unreachable(e))?;
        if Digest::of(&bytes) == digest { Ok(bytes.to_vec()) } else { Err(Error::Corrupt(digest)) }
    }

    /// Downloads a part of a blob. The caller checks it: a part has no digest of its own.
    ///
    /// # Errors
    /// When it is not there or may not be read.
    pub async fn blob_range(
        &self,
        digest: Digest,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>, Error> {
        if length == 0 {
            return Ok(Vec::new());
        }
        let range = format!("bytes={offset}-{}", offset.saturating_add(length - 1));
        self.http.range(&format!("/api/v1/blobs/{digest}"), &range).await
    }

    /// A job that was submitted before.
    #[must_use]
    pub fn job(&self, id: JobId) -> JobHandle {
        JobHandle::new(self.clone(), id)
    }

    /// One page of this account's jobs, newest last; `after` is the last page's `next`.
    ///
    /// # Errors
    /// When the coordinator cannot be asked.
    pub async fn jobs(&self, after: Option<&str>) -> Result<Page<JobView>, Error> {
        let after = after.map_or(String::new(), |after| format!("&after={after}"));
        self.http.get(&format!("/api/v1/jobs?payer={}{after}", self.account())).await
    }

    /// This account's credit.
    ///
    /// # Errors
    /// When the coordinator cannot be asked.
    pub async fn balance(&self) -> Result<AccountView, Error> {
        self.http.get(&format!("/api/v1/accounts/{}", self.account())).await
    }

    /// Moves this account to `next`'s key, which must have been made for this account. The old key is of no use after that.
    /// A client may do so with the account's recovery key, too ([`KeyFile::speaking_for`]).
    ///
    /// # Errors
    /// When the coordinator refuses the rotation or cannot be asked.
    pub async fn rotate(&self, next: &KeyFile) -> Result<(), Error> {
        let rotations = self.rotations().await?;
        let rotation = Rotation {
            format: 1,
            network: self.network.clone(),
            account: self.account(),
            key: next.pair().public(),
            recovery: Digest::of(next.recovery().public().as_bytes()),
            sequence: rotations + 1,
            issued: now(),
        };
        let body = Body::Cbor(self.http.key().pair().sign(&rotation).to_bytes());
        let path = format!("/api/v1/accounts/{}/rotate", self.account());
        self.http.call(Method::POST, &path, body).await.map(drop)
    }

    /// How often this account has changed its key: what anybody can read, so that a recovery key can.
    async fn rotations(&self) -> Result<u64, Error> {
        let path = format!("/api/v1/accounts/{}/keys", self.account());
        let (mut rotations, mut after) = (0, String::new());
        loop {
            let page: Page<KeyStatementView> = self.http.get(&format!("{path}{after}")).await?;
            rotations += page.items.iter().filter(|statement| statement.kind == "rotation").count();
            match page.next {
                Some(next) => after = format!("?after={next}"),
                None => return Ok(rotations as u64),
            }
        }
    }

    /// Withdraws one of this account's hosts at once.
    ///
    /// # Errors
    /// When it is not this account's host, or the coordinator cannot be asked.
    pub async fn revoke(&self, host: HostId) -> Result<(), Error> {
        let revocation = Revocation {
            format: 1,
            network: self.network.clone(),
            owner: self.account(),
            host,
            issued: now(),
        };
        let body = Body::Cbor(self.http.key().pair().sign(&revocation).to_bytes());
        let path = format!("/api/v1/accounts/{}/revoke", self.account());
        self.http.call(Method::POST, &path, body).await.map(drop)
    }

    /// One page of this account's statement.
    ///
    /// # Errors
    /// When the coordinator cannot be asked.
    pub async fn statement(&self, after: Option<&str>) -> Result<Page<TransferView>, Error> {
        let after = after.map_or(String::new(), |after| format!("?after={after}"));
        self.http.get(&format!("/api/v1/accounts/{}/statement{after}", self.account())).await
    }
}
