//! `cargo xtask powercut`: what a database holds after the power was cut in the middle of its commits.
//!
//! A writer commits to the coordinator's own store and says so after each commit; strace records every system call that
//! reaches its files. The record is then played up to a random moment. What was synced by then is there; of what was written and not
//! synced, each 512 bytes may be there or not. The copy is opened as a coordinator would, and must hold every commit that
//! was said to be durable. The control is the same with SQLite's synchronous=NORMAL, which must lose some: else this would find nothing.

mod disk;
mod record;
mod writer;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use example_inputs::draw;
use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tallymill_storage::{Commits as _, SqliteStore};

use crate::say::{note, say};
use crate::{network, repo};
use disk::Disk;
use record::Event;
pub(crate) use writer::Writer;
use writer::{DATABASE, Mode, identity};

/// Commits of one recording.
const COMMITS: u32 = 400;

/// Options of `cargo xtask powercut`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often the power is cut, in each mode.
    #[arg(long, default_value_t = 1_000)]
    cuts: u32,
    /// Chooses the moments and what survives.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Records, cuts, prints one line; a lost commit of the real store, or none of the control's, is an error.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure_strace()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let [full, normal] = [Mode::Full, Mode::Normal].map(|mode| {
        note(format!("{} cuts with synchronous={}", options.cuts, mode.name()));
        runtime.block_on(lost(mode, options))
    });
    let (full, normal) = (full?, normal?);
    say(json!({ "cuts": options.cuts, "full_lost": full, "normal_lost": normal }));
    ensure!(full == 0, "{full} cuts lost commits that were durable");
    ensure!(normal > 0, "the control lost nothing, so nothing would be found");
    Ok(())
}

fn ensure_strace() -> anyhow::Result<()> {
    if repo::output(repo::command("strace").arg("--version")).is_ok() {
        return Ok(());
    }
    let mut install = repo::command("apt-get");
    install.args(["install", "--yes", "--no-install-recommends", "strace"]);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    repo::run(&mut install).context(
        "strace is missing and could not be installed. As root on Debian or Ubuntu: apt-get install strace",
    )
}

/// Cuts after which a commit was missing that had been said to be durable.
async fn lost(mode: Mode, options: &Options) -> anyhow::Result<u32> {
    let folder = network::folder("powercut")?;
    let events = recorded(mode, folder.path())?;
    let commits = events.iter().filter(|event| matches!(event, Event::Told(_))).count();
    ensure!(commits >= COMMITS as usize, "only {commits} commits were recorded");
    let mut random = options.seed;
    let mut moments: Vec<usize> = Vec::new();
    for _ in 0..options.cuts {
        moments.push(usize::try_from(draw(&mut random) % u64::try_from(events.len())?)?);
    }
    moments.sort_unstable();
    let (mut disk, mut played, mut told, mut lost) = (Disk::default(), 0, 0, 0);
    let copy = folder.path().join("copy");
    for moment in moments {
        for event in &events[played..moment] {
            if let Event::Told(commit) = event {
                told = *commit;
            }
            disk.play(event);
        }
        played = moment;
        disk.cut(&copy, &mut random)?;
        let held = held(&copy).await.with_context(|| format!("after a cut at event {moment}"));
        let held = match (mode, held) {
            (Mode::Full, held) => held?,
            // Where it cannot even be opened, everything is lost.
            (Mode::Normal, held) => held.unwrap_or(0),
        };
        lost += u32::from(held < told);
    }
    Ok(lost)
}

/// What the writer did to its files, from the moment that the database was ready.
fn recorded(mode: Mode, folder: &Path) -> anyhow::Result<Vec<Event>> {
    let data = folder.join("data");
    std::fs::create_dir(&data)?;
    let log = folder.join("calls");
    let mut strace = repo::command("strace");
    strace.args(["-f", "-qq", "-xx", "-s", "1048576", "-o"]).arg(&log);
    strace.args(["-e", "trace=openat,close,pwrite64,write,fsync,fdatasync,ftruncate,unlink"]);
    strace.arg(std::env::current_exe()?).arg("powercut-writer").arg(&data);
    strace.args(["--mode", mode.name(), "--commits", &COMMITS.to_string()]);
    strace.stdout(std::process::Stdio::null());
    repo::run(&mut strace).context("the writer failed")?;
    record::read(&std::fs::read_to_string(&log)?, &data)
}

/// The last commit in a copy, opened as the coordinator opens it.
async fn held(copy: &Path) -> anyhow::Result<u64> {
    let file: PathBuf = copy.join(DATABASE);
    if !file.exists() {
        return Ok(0);
    }
    let store = SqliteStore::open(&file, &identity()?).await?;
    let sequence = store.load().await?.sequence;
    store.close().await;
    let options = SqliteConnectOptions::new().filename(&file).read_only(true);
    let found: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut options.connect().await?)
        .await?;
    ensure!(found == "ok", "the database is damaged: {found}");
    Ok(sequence)
}
