//! Power cuts: a process is killed without warning while a job runs.

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{Network, Part, all_is_there, command, guest, number, until};

/// Fails unless the only job has every result, and nothing was paid beside it.
#[track_caller]
fn nothing_is_lost(network: &Network, job: &str) {
    let spent = number(&all_is_there(network, job)["spent"]);
    assert_eq!(network.balance(), [10_000_000_000 - spent, 0, 0]);
}

#[test]
fn a_killed_coordinator_loses_no_result_and_no_credit() {
    let mut network = Network::start(2);
    let job = network.submit(&guest("mersenne"), "2..=1820", &["--fuel", "1200000000"]);
    let mut watch = command(network.folder.path());
    watch.args(["--json", "--url", &network.url, "--key", "operator.key", "job", "watch", &job]);
    let mut watch = Part::start(&mut watch, network.folder.path(), "watch");
    for kill in 1..=3 {
        // The first in the middle of the job, the others while it recovers.
        let seen = if kill == 1 { network.until_running(&job, 1) } else { network.job(&job) };
        let before = number(&seen["final"]);
        network.crash();
        let after = number(&network.job(&job)["final"]);
        assert!(after >= before, "{before} decided before kill {kill}, {after} after");
    }
    nothing_is_lost(&network, &job);
    assert_eq!(watch.says()["state"], "finished", "who watches it is not sent away");
    assert_eq!(watch.ended(), Some(0));
}

/// The process of this parent whose command line has this word.
fn child_of(parent: u32, word: &str) -> Option<u32> {
    let ids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.into_iter().find(|id| {
        let read = |name| std::fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
        // PID (NAME) STATE PARENT …
        let stat = read("stat");
        let above = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        above == Some(parent.to_string().as_str())
            && read("cmdline").split('\0').any(|it| it == word)
    })
}

#[test]
fn a_network_of_dev_whose_coordinator_ends_says_so_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut start = command(folder);
    start.args(["--json", "dev", "--listen", "127.0.0.1:0", "--workers", "1"]);
    // How a coordinator is set up elsewhere is nothing to this one.
    start.env("TALLYMILL_CONFIG", "nowhere.toml");
    let mut dev = Part::start(&mut start, folder, "dev");
    assert!(dev.says()["url"].is_string());
    let coordinator = child_of(dev.id(), "coordinator").unwrap();
    let worker = until("a worker", || child_of(dev.id(), "worker"), Option::is_some).unwrap();
    let coordinator = Pid::from_raw(i32::try_from(coordinator).unwrap()).unwrap();
    kill_process(coordinator, Signal::KILL).unwrap();
    assert_eq!(dev.ended(), Some(1));
    let said = dev.says()["error"].as_str().unwrap().to_owned();
    assert!(said.contains("the coordinator ended by itself"), "{said}");
    let gone = || !std::path::Path::new(&format!("/proc/{worker}")).exists();
    until("the end of the worker", gone, |gone| *gone);
}

#[test]
fn a_killed_worker_leaves_its_tasks_to_another() {
    let mut network = Network::start(3);
    let job = network.submit(&guest("mersenne"), "2..=1820", &["--fuel", "1200000000"]);
    network.until_running(&job, 1);
    network.workers[2].kill();
    nothing_is_lost(&network, &job);
}
