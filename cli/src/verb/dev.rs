//! `tallymill dev`: a whole network on this machine, each part a process of its own.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tallymill_sdk::{Client, KeyFile};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::Stop;
use crate::args::{Common, DevArgs, VARIABLES};
use crate::{notify, ui};

/// How long a part may take to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(35);

pub async fn run(common: &Common, args: DevArgs) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let mut parts = Vec::new();
    let ended = tokio::select! {
        ended = live(common, &args, &mut parts) => ended.map(|never| match never {}),
        () = stop.asked() => Ok(ExitCode::SUCCESS),
    };
    parts.reverse();
    for (name, child) in parts {
        end(name, child).await?;
    }
    ended
}

/// Starts all parts, and waits for the first that ends by itself.
async fn live(
    common: &Common,
    args: &DevArgs,
    parts: &mut Vec<(&'static str, Child)>,
) -> anyhow::Result<Infallible> {
    let key_path = common.key.clone().unwrap_or_else(|| args.state.join("account.key"));
    let key = KeyFile::load_or_create(&key_path)?;
    let (coordinator, url) = coordinator(args, &key).await?;
    parts.push(("coordinator", coordinator));
    let client = fund(&url, key, args.credits).await?;
    for number in 1..=args.workers {
        parts.push(("worker", worker(&args.state, &url, number)?));
    }
    announce(common, args, &client, &key_path)?;
    watch(parts).await
}

fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("failed to find this program's own file")
}

async fn coordinator(args: &DevArgs, key: &KeyFile) -> anyhow::Result<(Child, String)> {
    let mut command = Command::new(program()?);
    command
        .args(["--json", "coordinator", "--network", "localhost/tallymill-dev", "--data"])
        .arg(args.state.join("coordinator"))
        .args(["--listen", &args.listen.to_string(), "--operator", &key.account().to_string()]);
    command.args(args.allow_plain_http.then_some("--allow-plain-http"));
    // What is tried out here has nothing to do with how a coordinator is set up elsewhere.
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    let mut child = spawn(&mut command, Stdio::piped())?;
    let out = child.stdout.take().context("the coordinator has no output")?;
    let first = BufReader::new(out).lines().next_line().await?;
    let said: serde_json::Value = serde_json::from_str(&first.unwrap_or_default())
        .context("the coordinator did not start; is the address in use? See above, or try --listen 127.0.0.1:0")?;
    if let Some(error) = said.get("error").and_then(serde_json::Value::as_str) {
        anyhow::bail!("the coordinator did not start: {error}");
    }
    let url = said
        .get("listening")
        .and_then(serde_json::Value::as_str)
        .context("the coordinator named no address")?;
    Ok((child, url.to_owned()))
}

fn worker(state: &Path, url: &str, number: u32) -> anyhow::Result<Child> {
    let mut command = Command::new(program()?);
    command
        .args(["--url", url, "worker", "--state"])
        .arg(state.join(format!("worker-{number}")))
        .arg("join");
    spawn(&mut command, Stdio::null())
}

/// Starts a part in a process group of its own, so that Ctrl-C reaches only this process, which stops the parts in order.
fn spawn(command: &mut Command, stdout: Stdio) -> anyhow::Result<Child> {
    // A service manager that started this process waits for this process.
    for variable in notify::VARIABLES {
        command.env_remove(variable);
    }
    command.process_group(0).stdin(Stdio::null()).stdout(stdout).kill_on_drop(true);
    command.spawn().context("failed to start a part of the network")
}

/// Tops the account up to what was asked for, so that restarts do not add to it.
async fn fund(url: &str, key: KeyFile, credits: u32) -> anyhow::Result<Client> {
    let client = Client::connect(url, key).await?;
    let held = client.balance().await?.available;
    let wanted = i64::from(credits) * 1_000_000;
    if let Ok(missing @ 1..) = u64::try_from(wanted - held) {
        client.grant(client.account(), missing).await.context("failed to fund the account")?;
    }
    Ok(client)
}

fn announce(common: &Common, args: &DevArgs, client: &Client, key: &Path) -> anyhow::Result<()> {
    if common.json {
        return ui::json(&serde_json::json!({
            "url": client.url(), "account": client.account().to_string(), "key": key, "workers": args.workers,
        }));
    }
    let (url, key) = (client.url(), key.display());
    ui::line(format!("network   {url}"));
    ui::line(format!("account   {}", client.account()));
    ui::line(format!("workers   {}, each of another owner", args.workers));
    ui::line(format!(
        "next:     tallymill --url {url} --key {key} submit MODULE.wasm --range 2..=100 --wait"
    ));
    ui::line(format!("          tallymill --url {url} --key {key} open"));
    ui::line("Ctrl-C stops everything");
    Ok(())
}

/// Waits for the first part that ends by itself.
async fn watch(parts: &mut [(&'static str, Child)]) -> anyhow::Result<Infallible> {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for (name, child) in parts.iter_mut() {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("the {name} ended by itself: {status}");
            }
        }
    }
}

/// Asks a part to stop, and kills it when it does not.
async fn end(name: &str, mut child: Child) -> anyhow::Result<()> {
    if let Some(pid) =
        child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw)
    {
        // An error means that it is gone already, which is what is wanted.
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        ui::note(format!("the {name} does not stop; killing it"));
        child.kill().await?;
    }
    Ok(())
}
