//! Descriptors: a coordinator takes as many as the system lets it, and lives on when all are in use.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::world::{Network, under, until};

/// How many descriptors a command begins with.
const FEW: u64 = 100;

/// The same command, which begins with few descriptors and may have more.
fn with_few(command: &Command) -> Command {
    under(&["sh", "-c", "ulimit -Sn \"$0\" && exec \"$@\"", &FEW.to_string()], command)
}

/// Descriptors that a process may have, could allow itself, and has.
fn descriptors(process: u32) -> [u64; 3] {
    let text = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut limits = line.split_whitespace().take(2).map(|limit| limit.parse().unwrap());
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    [limits.next().unwrap(), limits.next().unwrap(), open.try_into().unwrap()]
}

#[test]
fn a_coordinator_takes_the_descriptors_it_may_and_survives_without() {
    let network = Network::start_with(|command| with_few(&command));
    let process = network.coordinator.id();
    let [allowed, maximum, open] = descriptors(process);
    assert_eq!(allowed, maximum.min(65_536));
    assert!(allowed > FEW, "no more can be had here");
    let id = Pid::from_raw(i32::try_from(process).unwrap());
    let set = |most| {
        let limit = Rlimit { current: Some(most), maximum: Some(maximum) };
        prlimit(id, Resource::Nofile, limit).unwrap();
    };
    set(open + 4);
    let place = network.url.strip_prefix("http://").unwrap();
    let ask = |_| {
        let mut stream = TcpStream::connect(place).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        stream
    };
    let crowd: Vec<TcpStream> = (0..20).map(ask).collect();
    let log = || std::fs::read_to_string(network.folder.path().join("coordinator.log")).unwrap();
    until("word of it", log, |log| log.contains("a connection could not be taken"));
    drop(crowd);
    assert_eq!(network.get("/livez").0, 200);
    set(allowed);
}
