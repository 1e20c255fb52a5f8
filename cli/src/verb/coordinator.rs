//! `tallymill coordinator`: run a super-node until told to stop, back it up, restore it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tallymill_coordinator::Options;
use tallymill_coordinator::backup::{self, Manifest};
use tallymill_coordinator::keys::KEY_FILE;
use tallymill_storage::Place;

use super::Stop;
use crate::args::{Common, CoordinatorArgs, CoordinatorVerb};
use crate::fault::Usage;
use crate::notify;
use crate::settings::Resolved;
use crate::ui;

/// Descriptors that a coordinator never needs more of: its connections, its blobs and its database.
const DESCRIPTORS: u64 = 65_536;

pub async fn run(common: &Common, args: CoordinatorArgs) -> anyhow::Result<ExitCode> {
    let options = Resolved::of(args.settings)?.options()?;
    match args.verb {
        None => serve(common, options).await,
        Some(CoordinatorVerb::Health) => super::health::run(common, &options).await,
        Some(CoordinatorVerb::Backup { into, without_key }) => {
            back_up(common, &options, &into, !without_key).await
        }
        Some(CoordinatorVerb::Restore { from, verify }) => {
            restore(common, &options, &from, verify).await
        }
    }
}

async fn back_up(
    common: &Common,
    options: &Options,
    into: &Path,
    with_key: bool,
) -> anyhow::Result<ExitCode> {
    let made = backup::back_up(options, into, with_key).await.context("failed to back up")?;
    if common.json {
        ui::json(&made)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Manifest { sequence, log_entries, log_root, blobs, blob_bytes, .. } = &made;
    ui::line(format!(
        "backed up to {}: commit {sequence}, {log_entries} log entries with root {log_root}, {blobs} blobs of {blob_bytes} bytes",
        into.display()
    ));
    ui::line(match with_key {
        true => "it holds the coordinator's key: whoever reads it can issue credit",
        false => "the coordinator's key is not in it: keep coordinator.key elsewhere",
    });
    Ok(ExitCode::SUCCESS)
}

async fn restore(
    common: &Common,
    options: &Options,
    from: &Path,
    verify: bool,
) -> anyhow::Result<ExitCode> {
    let restored = backup::restore(from, options, verify).await;
    let (manifest, verified) = restored.context("failed to restore")?;
    if common.json {
        let verified = verified.map(|it| {
            serde_json::json!({
                "reports": it.reports, "receipts": it.receipts, "transfers": it.transfers,
                "collected": it.collected,
            })
        });
        ui::json(&serde_json::json!({ "restored": manifest, "verified": verified }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Manifest { sequence, log_entries, log_root, blobs, network, .. } = &manifest;
    ui::line(format!(
        "restored to {}: commit {sequence}, {log_entries} log entries with root {log_root}, {blobs} blobs",
        options.data.display()
    ));
    if let Some(it) = verified {
        ui::line(format!(
            "verified: {} reports with {} receipts, {} transfers that give the balances",
            it.reports, it.receipts, it.transfers
        ));
        if it.collected > 0 {
            ui::line(format!(
                "{} reports were collected before: their roots are in the log, and nothing else of them is left",
                it.collected
            ));
        }
    }
    if !manifest.key {
        let key = options.data.join(KEY_FILE);
        ui::line(format!("put the coordinator's key at {} before you start it", key.display()));
    }
    let database = match &options.database {
        Place::File(file) if *file != options.data.join("tallymill.db") => {
            format!(" --database sqlite:{}", file.display())
        }
        _ => String::new(),
    };
    let blobs = match &options.blobs {
        folder if *folder != options.data.join("blobs") => {
            format!(" --blobs {}", folder.display())
        }
        _ => String::new(),
    };
    ui::line(format!(
        "start it with: tallymill coordinator --data {}{database}{blobs} --network {network}; what it did after the backup is lost, so never let the old one run again",
        options.data.display()
    ));
    Ok(ExitCode::SUCCESS)
}

async fn serve(common: &Common, mut options: Options) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::listen()?;
    allow_descriptors();
    options.ca.clone_from(&common.ca);
    options.private().map_err(|error| Usage(error.to_string()))?;
    let (data, scheme) = (options.data.display().to_string(), options.scheme());
    let mut handle = tokio::select! {
        started = tallymill_coordinator::start(options) => started.context("failed to start the coordinator")?,
        () = stop.asked() => return Ok(ExitCode::SUCCESS),
    };
    let url = format!("{scheme}://{}", handle.addr);
    if common.json {
        ui::json(&serde_json::json!({ "listening": url }))?;
    } else {
        ui::line(format!("listening on {url}, data in {data}; Ctrl-C stops"));
    }
    let pulse = handle.pulse.clone();
    tokio::select! {
        () = stop.asked() => {}
        never = notify::attend(&pulse, &url) => match never {},
        ended = handle.ended() => {
            // Nothing is decided any more: whoever started this process must see that it is over.
            return ended.context("the coordinator stopped by itself").map(|()| ExitCode::FAILURE);
        }
    }
    notify::stopping();
    handle.shutdown().await.context("failed to stop cleanly")?;
    Ok(ExitCode::SUCCESS)
}

/// Systems begin with few descriptors for the sake of old programs; a connection of each of a thousand hosts is more.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < most) {
        let raised = Rlimit { current: Some(most), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!("no more descriptors than {:?} are allowed: {error}", limit.current);
        }
    }
}
