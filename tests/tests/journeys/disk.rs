//! Disks that are full: who has one says so, loses nothing, and goes on once there is space.
//!
//! A full disk is a small one of its own where this user may mount, and everywhere a limit on the size of files, which
//! stops the same writes at the same places.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::world::{Network, Part, all_is_there, guest, number, under, until};

/// Ways to have a mount namespace: as root, or as root of a namespace of one's own.
const NAMESPACES: [&str; 2] = ["-m", "-Urm"];

/// The first way in which this user may mount.
fn namespace() -> Option<&'static str> {
    let script = "mount -t tmpfs -o size=64k tallymill /tmp";
    NAMESPACES.into_iter().find(|way| {
        let tried = Command::new("unshare").args([way, "sh", "-c", script]).output();
        tried.is_ok_and(|tried| tried.status.success())
    })
}

/// The same command with a small disk of its own below its data folder, which nobody else sees.
fn on_a_small_disk(way: &str, command: &Command) -> Command {
    let script = r#"mkdir -p data && mount -t tmpfs -o size=24m tallymill data && exec "$@""#;
    under(&["unshare", way, "sh", "-ec", script, "sh"], command)
}

/// What a part writes to, as far as a test can fill it.
enum Disk {
    /// A small disk, filled by a file.
    Small { filler: PathBuf },
    /// A process that may not make its files any longer.
    Limited { process: u32 },
}

impl Disk {
    fn of(part: &Part) -> Self {
        Self::Limited { process: part.id() }
    }

    fn fill(&self) {
        match self {
            Self::Small { filler } => {
                let mut file = File::create(filler).unwrap();
                for size in [1 << 16, 1 << 12, 1] {
                    while file.write_all(&vec![0; size]).is_ok() {}
                }
            }
            Self::Limited { process } => limit(*process, Some(0)),
        }
    }

    fn free(&self) {
        match self {
            Self::Small { filler } => std::fs::remove_file(filler).unwrap(),
            Self::Limited { process } => limit(*process, None),
        }
    }
}

/// What only a restored backup does: the database ends before something that was acknowledged.
fn rewind(database: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(database);
        let mut connection = options.connect().await.unwrap();
        let rewind = "UPDATE meta SET value = x'0000000000000001' WHERE name = 'sequence'";
        sqlx::query(rewind).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

#[test]
fn a_coordinator_whose_engine_ends_by_itself_says_so_and_ends() {
    let mut network = Network::start(0);
    let disk = Disk::of(&network.coordinator);
    disk.fill();
    until(
        "unreadiness",
        || {
            network.tell(&["admin", "grant", &network.account, "1"]);
            network.get("/readyz").0
        },
        |status| *status == 503,
    );
    rewind(&network.folder.path().join("data/tallymill.db"));
    disk.free();
    assert_eq!(network.coordinator.ended(), Some(1));
    let said = network.coordinator.says()["error"].as_str().unwrap().to_owned();
    assert!(said.contains("the coordinator stopped by itself"), "{said}");
    assert!(said.contains("the database ends at commit 1, but commit"), "{said}");
}

/// Limits the size of files that a process writes. Only the soft limit moves, so no right is needed to lift it again.
fn limit(process: u32, bytes: Option<u64>) {
    let process = Pid::from_raw(i32::try_from(process).unwrap());
    prlimit(process, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// Fails unless the coordinator says that its disk is full while leases are in flight, and everything is there in the end.
fn survives(network: &Network, disk: &Disk) {
    let job = network.submit(&guest("mersenne"), "2..=1820", &["--fuel", "1200000000"]);
    let before = number(&network.until_running(&job, 100)["final"]);
    disk.fill();
    // What a file has already can still be written, so it may take some commits until one fails.
    until(
        "a refusal for want of space",
        || network.tell(&["admin", "grant", &network.account, "1"]),
        |said| said.code == 4,
    );
    until("unreadiness", || network.get("/readyz").0, |status| *status == 503);
    assert_eq!(network.get("/livez").0, 200);
    disk.free();
    until("readiness", || network.get("/readyz").0, |status| *status == 200);
    let after = network.job(&job);
    assert!(number(&after["final"]) >= before, "{before} were decided: {after}");
    if matches!(disk, Disk::Limited { .. }) {
        assert_eq!(after["state"], "running", "leases were in flight when it failed: {after}");
    }
    all_is_there(network, &job);
}

#[test]
fn a_coordinator_that_may_write_no_more_says_so_and_survives() {
    let network = Network::start(2);
    survives(&network, &Disk::of(&network.coordinator));
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let way = namespace();
    let mut network = Network::start_with(|command| match way {
        Some(way) => on_a_small_disk(way, &command),
        None => command,
    });
    (0..2).for_each(|_| network.join());
    let folder = PathBuf::from(format!("/proc/{}/cwd/data", network.coordinator.id()));
    let disk = match way {
        Some(_) => Disk::Small { filler: folder.join("filler") },
        None => Disk::of(&network.coordinator),
    };
    survives(&network, &disk);
}

#[test]
fn a_worker_whose_disk_is_full_gives_back_what_it_cannot_keep_and_says_why() {
    // No task of two owners can be decided without either of them.
    let network = Network::start(2);
    let disk = Disk::of(&network.workers[0]);
    let submit = |range| network.submit(&guest("mersenne"), range, &["--fuel", "1200000000"]);
    submit("2..=200");
    until("a first credit", || number(&network.status(1)["credited"]), |now| *now > 0);
    disk.fill();
    let job = submit("2..=1820");
    let trouble = || network.status(1)["trouble"]["what"].as_str().map(str::to_owned);
    let said = until("the reason", trouble, Option::is_some).unwrap();
    assert!(said.contains("could not") && said.contains("ulimit -f"), "{said}");
    assert_eq!(network.job(&job)["state"], "running", "what was given back waits");
    disk.free();
    all_is_there(&network, &job);
    until("the end of the trouble", trouble, Option::is_none);
    assert_eq!(network.status(1)["refused"], 0, "{}", network.status(1));
}
