//! From a grant to tasks that can run: everything the coordinator sends is checked against what the submitter signed.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tallymill_protocol::work::{Grant, SegmentStart, VoidCause};
use tallymill_protocol::{
    AccountId, Digest, Inputs, Key, KeyChain, Lease, Manifest, Signed, Steps, TableEntry,
    TaskIndex, merkle, snapshot,
};
use tallymill_sandbox::{JobSpec, SegmentSpec, TaskSpec, Void, versions};

use crate::api::{ApiError, Session};
use crate::blobs::{BlobCache, BlobError};
use crate::execute::{Execute, Prepared};
use crate::options::{Caps, Rules};
use crate::signer::SignerError;

/// Longest module taken, bytes.
pub const MAX_MODULE: u64 = 64 << 20;

/// Why a granted lease is not run.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The lease itself is not believed; nothing is said about its tasks.
    #[error(transparent)]
    Lease(#[from] SignerError),
    /// Its tasks are void.
    #[error(transparent)]
    Void(#[from] Void),
    /// The coordinator could not be asked for what is missing; worth trying again.
    #[error(transparent)]
    Later(ApiError),
}

impl From<ApiError> for GrantError {
    fn from(error: ApiError) -> Self {
        if error.is_passing() { Self::Later(error) } else { unavailable(error.to_string()) }
    }
}

impl From<BlobError> for GrantError {
    fn from(error: BlobError) -> Self {
        unavailable(error.to_string())
    }
}

fn unavailable(why: impl Into<String>) -> GrantError {
    GrantError::Void(Void::new(VoidCause::Unavailable, why))
}

fn unwanted(why: impl Into<String>) -> GrantError {
    GrantError::Void(Void::new(VoidCause::OwnerLimit, why))
}

/// What a lease needs to run.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) module: Prepared,
    pub(crate) tasks: Vec<TaskSpec>,
    pub(crate) manifest: Arc<Manifest>,
    /// Of a long task, where its only task goes on.
    pub(crate) part: Option<Part>,
}

/// The segment that a lease is about.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) steps: Steps,
    pub(crate) start: SegmentStart,
    /// The snapshot there, which is the one with the root and the fuel of the start.
    pub(crate) from: Option<Arc<[u8]>>,
}

impl Part {
    /// The segment of this task.
    pub(crate) fn of(&self, task: &TaskSpec) -> SegmentSpec {
        let (task, from) = (task.clone(), self.from.clone());
        SegmentSpec { task, steps: self.steps, from, pause_after: None }
    }
}

/// Where things are fetched from and whom the owner works for.
pub(crate) struct Loader {
    pub(crate) session: Session,
    pub(crate) blobs: Arc<BlobCache>,
    pub(crate) execute: Arc<dyn Execute>,
    pub(crate) rules: Rules,
    pub(crate) caps: Caps,
    pub(crate) owner: Owner,
}

/// Who this machine belongs to, as far as it knows by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) account: AccountId,
    /// The owner's key that is kept here; the first one where none is.
    pub(crate) key: Key,
}

impl Loader {
    /// Checks and fetches everything for a lease that the signer has opened.
    pub(crate) async fn load(
        &self,
        lease: &Lease,
        grant: &Grant,
        known: Option<Arc<Manifest>>,
    ) -> Result<Loaded, GrantError> {
        let manifest = match known {
            Some(manifest) => manifest,
            None => Arc::new(self.manifest(lease).await?),
        };
        agrees(lease, &manifest)?;
        if let Some(why) = self.rules.refusal(&manifest).or(self.caps.exceeded(&lease.limits)) {
            return Err(unwanted(why));
        }
        let module = self.module(lease.module).await?;
        let mut files = Vec::new();
        for file in &manifest.files.0 {
            files.push(Arc::from(&self.blob(file.blob, file.length).await?[..]));
        }
        let spec = JobSpec::from_manifest(&manifest, &files);
        let spec = Arc::new(spec.map_err(|error| unavailable(error.to_string()))?);
        let inputs = self.inputs(lease, &manifest, grant).await?;
        let part = match manifest.steps {
            Some(steps) => Some(self.part(lease, steps, grant).await?),
            None => None,
        };
        let tasks = inputs.into_iter().zip(lease.first.0..).map(|(input, index)| TaskSpec {
            job: spec.clone(),
            index: TaskIndex(index),
            input,
        });
        Ok(Loaded { module, tasks: tasks.collect(), manifest, part })
    }

    async fn manifest(&self, lease: &Lease) -> Result<Manifest, GrantError> {
        let path = format!("/api/v1/jobs/{}/manifest", lease.job);
        let signed: Signed<Manifest> = self.session.message(&path).await?;
        if Manifest::id_of(signed.payload()) != lease.job {
            return Err(unavailable("the manifest is not the one that the lease's job names"));
        }
        let opened = signed.open(signed.signer());
        let manifest = opened.map_err(|error| unavailable(error.to_string()))?;
        manifest.validate().map_err(|error| unavailable(error.to_string()))?;
        self.believe(lease, &manifest, signed.signer()).await?;
        Ok(manifest)
    }

    /// Whose job it is decides whether it is run, so the coordinator's word for that is not enough: the signer is the
    /// submitter's first key, or a later one by a chain that starts there. Of the owner's own jobs it is this machine's
    /// copy of the owner's key or one after it: keys that were moved away from may be in others' hands.
    async fn believe(
        &self,
        lease: &Lease,
        manifest: &Manifest,
        signer: &Key,
    ) -> Result<(), GrantError> {
        let own = manifest.submitter == self.owner.account;
        let known = if own { self.owner.key } else { manifest.submitter.into() };
        if *signer == known {
            return Ok(());
        }
        let path = format!("/api/v1/jobs/{}/keys", lease.job);
        let chain: KeyChain = self.session.message(&path).await?;
        let keys = chain.keys(&manifest.network, manifest.submitter);
        let keys = keys.map_err(|error| unavailable(error.to_string()))?;
        let mut later = keys.iter().skip_while(|key| **key != known);
        if later.any(|key| key == signer) {
            return Ok(());
        }
        Err(unavailable("the manifest is not signed by a key of its submitter's"))
    }

    async fn module(&self, digest: Digest) -> Result<Prepared, GrantError> {
        if let Some(ready) = self.execute.ready(&digest) {
            return Ok(ready);
        }
        let bytes = self.blob(digest, MAX_MODULE).await?;
        let execute = self.execute.clone();
        let prepared = tokio::task::spawn_blocking(move || execute.prepare(digest, &bytes)).await;
        let crashed = |_| Void::new(VoidCause::Compile, "preparing the module crashed");
        Ok(prepared.map_err(crashed)??)
    }

    async fn blob(&self, digest: Digest, limit: u64) -> Result<Bytes, GrantError> {
        if let Some(bytes) = self.blobs.get(&digest)? {
            return Ok(bytes);
        }
        let stream = self.session.blob(&digest, None).await?;
        Ok(self.blobs.take(digest, limit, stream).await?)
    }

    /// Where the task of a lease goes on, with the snapshot there: believed when its bytes have the root and the fuel that
    /// the receipt will name.
    async fn part(&self, lease: &Lease, steps: Steps, grant: &Grant) -> Result<Part, GrantError> {
        let [start] = grant.states.0[..] else {
            return Err(unavailable("the grant does not say where its one long task stands"));
        };
        if (start.task, 1) != (lease.first, lease.count) {
            return Err(unavailable("the grant says where another task stands than its lease's"));
        }
        let Some(digest) = start.snapshot else {
            let fresh = (start.index, start.root, start.fuel) == (0, Digest::ZERO, 0);
            let part = Part { steps, start, from: None };
            let odd = || unavailable("a task that has begun comes without its snapshot");
            return fresh.then_some(part).ok_or_else(odd);
        };
        let longest = snapshot::max_len(&lease.limits);
        let bytes = self.blob(digest, start.length.min(longest)).await?;
        let limits = lease.limits;
        let read = move || {
            let read = snapshot::decode(&bytes, &limits);
            let read = read.map(|found| (found.root(), found.facts.fuel));
            read.map(|found| (found, Arc::from(&bytes[..])))
        };
        let read = tokio::task::spawn_blocking(read).await;
        let (found, from) = read
            .map_err(|error| unavailable(error.to_string()))?
            .map_err(|error| unavailable(error.to_string()))?;
        if found != (start.root, start.fuel) {
            return Err(unavailable("the snapshot is not of the state that the grant names"));
        }
        Ok(Part { steps, start, from: Some(from) })
    }

    async fn inputs(
        &self,
        lease: &Lease,
        manifest: &Manifest,
        grant: &Grant,
    ) -> Result<Vec<Arc<[u8]>>, GrantError> {
        let range = lease.first.0..lease.first.0 + lease.count;
        let Inputs::Table { root, count, blob } = manifest.inputs else {
            let inputs = range.filter_map(|index| manifest.inputs.range_input(index));
            return Ok(inputs.map(Arc::from).collect());
        };
        let entries = table_entries(lease, grant, root, count)?;
        let mut inputs = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            if entry.length > self.caps.input {
                return Err(unwanted("an input is longer than the owner allows"));
            }
            let bytes: Arc<[u8]> = match grant.inputs.0.get(at).filter(|b| !b.0.is_empty()) {
                Some(inline) => Arc::from(&inline.0[..]),
                None => Arc::from(self.slice(blob, entry).await?),
            };
            if Digest::of(&bytes) != entry.digest {
                let task = lease.first.0.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
                return Err(unavailable(format!("input {task} is not the one submitted")));
            }
            inputs.push(bytes);
        }
        Ok(inputs)
    }

    async fn slice(&self, blob: Digest, entry: &TableEntry) -> Result<Vec<u8>, GrantError> {
        if entry.length == 0 {
            return Ok(Vec::new());
        }
        let end = entry.offset.checked_add(entry.length);
        let end =
            end.ok_or_else(|| unavailable("an input's place in the table is not possible"))?;
        let mut stream = self.session.blob(&blob, Some((entry.offset, end))).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let broken = |error: reqwest::Error| BlobError::Broken(blob, error.to_string());
            bytes.extend_from_slice(&chunk.map_err(broken)?);
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > entry.length {
                return Err(BlobError::TooLarge { digest: blob, limit: entry.length }.into());
            }
        }
        Ok(bytes)
    }
}

/// Whether the lease says what the manifest says.
fn agrees(lease: &Lease, manifest: &Manifest) -> Result<(), GrantError> {
    let end = lease.first.0.checked_add(lease.count);
    let rules = [
        (manifest.coordinators.0.contains(&lease.coordinator), "coordinator"),
        (manifest.network == lease.network, "network"),
        (manifest.module == lease.module, "module"),
        (manifest.limits == lease.limits, "limits"),
        (manifest.tariff == lease.tariff, "tariff"),
        (manifest.payer == lease.payer, "payer"),
        (manifest.versions == lease.versions, "versions"),
        (lease.count > 0 && end.is_some_and(|end| end <= manifest.inputs.count()), "tasks"),
    ];
    if let Some((_, field)) = rules.into_iter().find(|(agrees, _)| !agrees) {
        return Err(unavailable(format!("the lease's {field} is not what the submitter signed")));
    }
    if lease.versions != versions() {
        return Err(unwanted("this worker has other versions of meter, costs or profile"));
    }
    Ok(())
}

/// The entries of a table job's range, proven under the root that the submitter signed.
pub(crate) fn table_entries(
    lease: &Lease,
    grant: &Grant,
    root: Digest,
    count: u32,
) -> Result<Vec<TableEntry>, GrantError> {
    let (chunks, rest) = grant.entries.0.as_chunks::<{ TableEntry::SIZE }>();
    let expected = usize::try_from(lease.count).unwrap_or(usize::MAX);
    if chunks.len() != expected || !rest.is_empty() {
        return Err(unavailable("the grant has not one table entry for each task"));
    }
    let leaves: Vec<Digest> = chunks.iter().map(|entry| merkle::leaf(entry)).collect();
    let [count, first] = [count, lease.first.0].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    if !merkle::verify_range(root, count, first, &leaves, &grant.proof.0) {
        return Err(unavailable(
            "the inputs' proof does not lead to the root the submitter signed",
        ));
    }
    Ok(chunks.iter().map(TableEntry::from_bytes).collect())
}
