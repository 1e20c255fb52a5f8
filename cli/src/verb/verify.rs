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
    let client = client(common).await?;
    let module = match &args.module {
        Some(path) => read(path)?,
        None => client.blob(manifest.module).await?,
    };
    let mut files: Vec<Arc<[u8]>> = Vec::new();
    for file in &manifest.files.0 {
        files.push(client.blob(file.blob).await?.into());
    }
    let task = Task {
        module: &module,
        job: Arc::new(JobSpec::from_manifest(manifest, &files)?),
        versions: manifest.versions,
        input: input(&client, manifest, evidence, believed.receipt.task.0).await?.into(),
    };
    let Some(steps) = manifest.steps else {
        return judged(executor.verify(&believed.receipt, &task));
    };
    let from = snapshot(args, &client, evidence).await?;
    let index = believed.receipt.task;
    let part = Part { task: &task, index, steps, from: from.as_deref() };
    judged(verify_segment(&believed.receipt, &part, executor))
}

/// The snapshot that a segment began from: the file given, or the blob that the evidence names.
async fn snapshot(
    args: &VerifyArgs,
    client: &Client,
    evidence: &Evidence,
) -> anyhow::Result<Option<Vec<u8>>> {
    match (&args.snapshot, evidence.snapshot) {
        (Some(path), _) => Ok(Some(read(path)?)),
        (None, Some(digest)) => Ok(Some(client.blob(digest).await?)),
        (None, None) => Ok(None),
    }
}

/// The input the submitter signed for this task.
async fn input(
    client: &Client,
    manifest: &Manifest,
    evidence: &Evidence,
    task: u32,
) -> anyhow::Result<Vec<u8>> {
    let Inputs::Table { blob, .. } = manifest.inputs else {
        return manifest.inputs.range_input(task).context("the task's number does not fit 64 bits");
    };
    let entry = evidence.entry.as_ref().and_then(tallymill_audit::TableProof::read);
    let entry =
        entry.ok_or_else(|| NotVerified("the evidence lacks the task's table entry".to_owned()))?;
    let bytes = client.blob_range(blob, entry.offset, entry.length).await?;
    let found = Digest::of(&bytes);
    if found == entry.digest {
        Ok(bytes)
    } else {
        Err(NotVerified("the input is not the one signed".to_owned()).into())
    }
}
