//! Everything that is checked of a job before the engine sees it.

use tallymill_ledger::Amount;
use tallymill_protocol::{
    Digest, Inputs, Manifest, Signed, TableEntry, Visibility, merkle, snapshot,
};

use super::auth::Caller;
use super::problem::Problem;
use super::{App, blobs, unexpected, work};
use crate::blobs::Reader;

/// Largest module, bytes.
pub const MAX_MODULE: u64 = 64 << 20;
/// Most tasks of a table job here: its leaves are held in memory while it is leased.
pub const MAX_TABLE: u32 = 1 << 20;

/// Longest input of one task, bytes; more is passed as a file.
pub const MAX_INPUT: u64 = 64 << 20;

/// A manifest whose signature holds, by the key that stands for its submitter, who is the caller.
pub async fn signed(
    app: &App,
    caller: &Caller,
    signed: &Signed<Manifest>,
) -> Result<Manifest, Problem> {
    let claimed = signed.peek().map_err(|error| Problem::field("manifest", error.to_string()))?;
    let account = caller.account()?;
    if claimed.submitter != account {
        return Err(Problem::field("submitter", "submitter: not the account that is logged in"));
    }
    let row = app.store.account(account).await?.ok_or_else(unexpected)?;
    signed.open(&row.current_key).map_err(|error| Problem::field("signature", error.to_string()))
}

/// The length of the longest input, with number and escrow of the job when the same manifest was taken before. Such a job
/// is as it is, whatever became of its blobs or of this program's versions since; a new one is checked.
pub async fn taken(
    app: &App,
    caller: &Caller,
    (signed, manifest): (&Signed<Manifest>, &Manifest),
) -> Result<(u64, Option<(u64, Amount)>), Problem> {
    let Some(row) = app.store.job(Manifest::id_of(signed.payload())).await? else {
        let longest = check(app, caller, manifest).await?;
        share(app, manifest).await?;
        return Ok((longest, None));
    };
    let longest = match manifest.inputs {
        Inputs::Range { .. } => 0,
        Inputs::Table { .. } => row.largest_input,
    };
    Ok((longest, Some((row.number, row.escrow))))
}

/// The length of the longest input, after module, files and inputs were found right.
pub async fn check(app: &App, caller: &Caller, manifest: &Manifest) -> Result<u64, Problem> {
    manifest.validate().map_err(|error| Problem::field(error.field, error.to_string()))?;
    if manifest.network != app.options.network {
        let detail = format!("network: this is '{}'", app.options.network);
        return Err(Problem::field("network", detail));
    }
    if !manifest.coordinators.0.contains(&app.key.public().into()) {
        let detail = format!("coordinators: {} is not among them", app.key.public());
        return Err(Problem::field("coordinators", detail));
    }
    if manifest.versions != tallymill_sandbox::versions() {
        let problem = Problem::field("versions", "versions: not those of GET /api/v1/network");
        return Err(problem.next("update this client, or the coordinator"));
    }
    snapshots_fit(app, manifest)?;
    module(app, caller, manifest).await?;
    for (at, file) in manifest.files.0.iter().enumerate() {
        let length = blob(app, caller, &format!("files[{at}].blob"), file.blob).await?;
        if length != file.length {
            let detail = format!("files[{at}].length: the blob has {length} bytes");
            return Err(Problem::field(format!("files[{at}].length"), detail));
        }
    }
    match manifest.inputs {
        Inputs::Range { .. } => Ok(0),
        Inputs::Table { root, count, blob: digest } => {
            let length = blob(app, caller, "inputs.blob", digest).await?;
            table(app, (digest, length), root, count).await
        }
    }
}

/// What a long task may have to upload between two segments must be a blob that this coordinator takes.
fn snapshots_fit(app: &App, manifest: &Manifest) -> Result<(), Problem> {
    let (longest, limit) = (snapshot::max_len(&manifest.limits), app.options.bounds.blob);
    if manifest.steps.is_none() || longest <= limit {
        return Ok(());
    }
    let detail = format!("limits: a snapshot may have {longest} bytes");
    let problem = Problem::field("limits", detail).limit(&limit);
    Err(problem.next("lower the limits of memory, output, log or files"))
}

/// The length of a blob that the caller may read: nobody gets at others' bytes by naming them in a job.
async fn blob(app: &App, caller: &Caller, field: &str, digest: Digest) -> Result<u64, Problem> {
    let mut length = None;
    if blobs::readable(app, caller, digest).await? {
        length = app.blobs.length(digest).await?;
    }
    length.ok_or_else(|| {
        Problem::field(field, format!("{field}: {digest} is not here"))
            .next("upload it with PUT /api/v1/blobs/{digest}, then submit again")
    })
}

async fn module(app: &App, caller: &Caller, manifest: &Manifest) -> Result<(), Problem> {
    let (digest, interface) = (manifest.module, manifest.interface);
    let length = blob(app, caller, "module", digest).await?;
    if length > MAX_MODULE {
        return Err(Problem::field("module", "module: too long").limit(&MAX_MODULE));
    }
    let bytes = app.blobs.read(digest, 0, length).await?.ok_or_else(unexpected)?;
    let screen = move || tallymill_sandbox::screen_as(&bytes, interface).map(drop);
    let screened = tokio::task::spawn_blocking(screen);
    let screened = screened.await.map_err(|error| Problem::internal(&error))?;
    screened.map_err(|error| {
        let problem = Problem::field("module", format!("module: {error}"));
        let problem = problem.next("change the module until `tallymill run` takes it");
        match error.limit() {
            Some(limit) => problem.limit(&limit),
            None => problem,
        }
    })
}

/// Lets everybody read what a public job names: strangers run its tasks again.
async fn share(app: &App, manifest: &Manifest) -> Result<(), Problem> {
    if manifest.visibility != Visibility::Public {
        return Ok(());
    }
    for digest in manifest.blobs() {
        app.blobs.share(digest, Reader::Everybody).await?;
    }
    Ok(())
}

async fn table(
    app: &App,
    (digest, length): (Digest, u64),
    root: Digest,
    count: u32,
) -> Result<u64, Problem> {
    if count > MAX_TABLE {
        return Err(
            Problem::field("inputs.count", "inputs.count: too many tasks").limit(&MAX_TABLE)
        );
    }
    let leaves = work::leaves(app, digest, count).await?;
    if merkle::root(&leaves) != root {
        return Err(Problem::field("inputs.root", "inputs.root: not the root of the blob's table"));
    }
    let bytes = app.blobs.read(digest, 0, u64::from(count) * TableEntry::SIZE as u64).await?;
    let bytes = bytes.ok_or_else(unexpected)?;
    let mut longest = 0;
    for (at, entry) in bytes.as_chunks().0.iter().map(TableEntry::from_bytes).enumerate() {
        if entry.length > MAX_INPUT {
            let detail = format!("inputs[{at}]: longer than {MAX_INPUT} bytes");
            let problem = Problem::field(format!("inputs[{at}]"), detail).limit(&MAX_INPUT);
            return Err(problem.next("pass it as a file instead"));
        }
        if entry.offset.checked_add(entry.length).is_none_or(|end| end > length) {
            let detail = format!("inputs[{at}]: it ends behind the blob's {length} bytes");
            return Err(Problem::field(format!("inputs[{at}]"), detail));
        }
        longest = longest.max(entry.length);
    }
    Ok(longest)
}
