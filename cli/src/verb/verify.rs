//! `tallymill verify`: signatures and Merkle path first, then the run itself, again, here.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tallymill_audit::{
    Evidence, Executor, LocalReceipt, Part, Task, VerifyError, check_signatures, verify_segment,
};
use tallymill_protocol::{Digest, Inputs, Manifest};
use tallymill_sandbox::{JobSpec, Launcher};
use tallymill_sdk::Client;
use tokio::sync::OnceCell;

use super::{client, named_files, read};
use crate::args::{Common, VerifyArgs};
use crate::fault::{NotVerified, Usage};
use crate::ui;

/// Wall-clock limit of the re-execution.
const WALL: Duration = Duration::from_secs(3_600);

pub async fn run(common: &Common, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let bytes = read(&args.receipt)?;
    let executor = Executor {
        cache: None,
        launcher: Launcher::current_exe().context("failed to find this program's own file")?,
        wall: WALL,
    };
    match LocalReceipt::from_json(&bytes) {
        Ok(receipt) => local(args, &executor, &receipt)?,
        Err(not_local) => match Evidence::from_json(&bytes) {
            Ok(evidence) => signed(common, args, &executor, &evidence).await?,
            Err(not_evidence) => {
                let both =
                    format!("neither a local receipt ({not_local}) nor evidence ({not_evidence})");
                return Err(NotVerified(both).into());
            }
        },
    }
    if common.json {
        ui::json(&serde_json::json!({ "verified": true }))?;
    } else {
        ui::line("verified: running it again gives the same outcome, output and fuel");
    }
    Ok(ExitCode::SUCCESS)
}

fn judged(result: Result<(), VerifyError>) -> anyhow::Result<()> {
    result.map_err(|e| NotVerified(format!("{:#}", anyhow::Error::new(e))).into())
}

fn local(args: &VerifyArgs, executor: &Executor<'_>, receipt: &LocalReceipt) -> anyhow::Result<()> {
    let path = args
        .module
        .as_ref()
        .ok_or_else(|| Usage("a local receipt needs --module FILE".to_owned()))?;
    let module = read(path)?;
    let input = args.stdin.as_ref().map_or(Ok(Vec::new()), |path| read(path))?;
    let mut files = named_files(&args.inputs)?;
    files.sort();
    let files: Vec<Arc<[u8]>> = files.into_iter().map(|(_, bytes)| bytes.into()).collect();
    judged(receipt.verify(executor, &module, input.into(), &files))
}

async fn signed(
    common: &Common,
    args: &VerifyArgs,
    executor: &Executor<'_>,
    evidence: &Evidence,
) -> anyhow::Result<()> {
    let trusted = args.coordinator.as_ref().map(|text| text.parse());
    let trusted = trusted.transpose().map_err(|e| Usage(format!("--coordinator: {e}")))?;
    let believed =
        check_signatures(evidence, trusted).map_err(|doubt| NotVerified(doubt.to_string()))?;
    let manifest = &believed.manifest;
    let source = Source { common, client: OnceCell::new() };
    let module = match &args.module {
        Some(path) => read(path)?,
        None => source.client().await?.blob(manifest.module).await?,
    };
    let files = files(args, &source, manifest).await?;
    let task = Task {
        module: &module,
        job: Arc::new(JobSpec::from_manifest(manifest, &files)?),
        versions: manifest.versions,
        input: input(args, &source, (manifest, believed.receipt.task.0), evidence).await?.into(),
    };
    let Some(steps) = manifest.steps else {
        return judged(executor.verify(&believed.receipt, &task));
    };
    let from = snapshot(args, &source, evidence).await?;
    let index = believed.receipt.task;
    let part = Part { task: &task, index, steps, from: from.as_deref() };
    judged(verify_segment(&believed.receipt, &part, executor))
}

/// Where missing bytes come from: a coordinator that is asked only when there are some.
struct Source<'a> {
    common: &'a Common,
    client: OnceCell<Client>,
}

impl Source<'_> {
    async fn client(&self) -> anyhow::Result<&Client> {
        self.client.get_or_try_init(|| client(self.common)).await
    }
}

/// The job's files in the manifest's order: those given by name, the others by digest.
async fn files(
    args: &VerifyArgs,
    source: &Source<'_>,
    manifest: &Manifest,
) -> anyhow::Result<Vec<Arc<[u8]>>> {
    let given = named_files(&args.inputs)?;
    let mut files: Vec<Arc<[u8]>> = Vec::new();
    for file in &manifest.files.0 {
        let bytes = match given.iter().find(|(name, _)| *name == file.name.0) {
            Some((_, bytes)) if Digest::of(bytes) == file.blob => bytes.clone(),
            Some((name, _)) => {
                return Err(NotVerified(format!("file '{name}' is not the one signed")).into());
            }
            None => source.client().await?.blob(file.blob).await?,
        };
        files.push(bytes.into());
    }
    Ok(files)
}

/// The snapshot that a segment began from: the file given, or the blob that the evidence names.
async fn snapshot(
    args: &VerifyArgs,
    source: &Source<'_>,
    evidence: &Evidence,
) -> anyhow::Result<Option<Vec<u8>>> {
    match (&args.snapshot, evidence.snapshot) {
        (Some(path), _) => Ok(Some(read(path)?)),
        (None, Some(digest)) => Ok(Some(source.client().await?.blob(digest).await?)),
        (None, None) => Ok(None),
    }
}

/// The input the submitter signed for this task.
async fn input(
    args: &VerifyArgs,
    source: &Source<'_>,
    (manifest, task): (&Manifest, u32),
    evidence: &Evidence,
) -> anyhow::Result<Vec<u8>> {
    let Inputs::Table { blob, .. } = manifest.inputs else {
        return manifest.inputs.range_input(task).context("the task's number does not fit 64 bits");
    };
    let entry = evidence.entry.as_ref().and_then(tallymill_audit::TableProof::read);
    let entry =
        entry.ok_or_else(|| NotVerified("the evidence lacks the task's table entry".to_owned()))?;
    let bytes = match &args.stdin {
        Some(path) => read(path)?,
        None => source.client().await?.blob_range(blob, entry.offset, entry.length).await?,
    };
    let found = Digest::of(&bytes);
    if found == entry.digest {
        Ok(bytes)
    } else {
        Err(NotVerified("the input is not the one signed".to_owned()).into())
    }
}
