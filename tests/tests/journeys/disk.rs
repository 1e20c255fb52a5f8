//! A coordinator whose disk is full says so, loses nothing, and goes on once there is space.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use crate::world::{Network, guest, until};

/// Whether this user may mount in a namespace of its own.
fn may_mount() -> bool {
    let script = "mount -t tmpfs -o size=64k tallymill /tmp";
    let tried = Command::new("unshare").args(["-m", "sh", "-c", script]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// The same command with a small disk of its own below its data folder, which nobody else sees.
fn on_a_small_disk(command: &Command) -> Command {
    let script = r#"mkdir -p data && mount -t tmpfs -o size=24m tallymill data && exec "$@""#;
    let mut small = Command::new("unshare");
    small.args(["-m", "sh", "-ec", script, "sh"]).arg(command.get_program());
    small.args(command.get_args()).current_dir(command.get_current_dir().unwrap());
    small
}

/// Writes until the disk takes no more.
fn fill(path: &PathBuf) {
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk_is_said_and_survived() {
    if !may_mount() {
        eprintln!("skipped: this user may not mount a small disk in a namespace of its own");
        return;
    }
    let mut network = Network::start_with(|command| on_a_small_disk(&command));
    (0..2).for_each(|_| network.join());
    let disk = PathBuf::from(format!("/proc/{}/cwd/data", network.coordinator.id()));
    let filler = disk.join("filler");
    fill(&filler);
    until(
        "a refusal for want of space",
        || network.tell(&["admin", "grant", &network.account, "1"]),
        |said| said.code == 4,
    );
    until("unreadiness", || network.get("/readyz").0, |status| *status == 503);
    assert_eq!(network.get("/livez").0, 200);

    std::fs::remove_file(filler).unwrap();
    until("readiness", || network.get("/readyz").0, |status| *status == 200);
    let job = network.submit(&guest("mersenne"), "2..=9", &[]);
    assert_eq!(network.until_over(&job)["state"], "finished");
    network.audit();
}
