//! What processes used, as the kernel counts it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::Context;

/// Clock ticks per second in /proc: the kernel shows times in this unit on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// One process in /proc/PID/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    parent: u32,
    /// Own time and that of children it waited for, ticks.
    ticks: u64,
}

/// CPU time of these processes, their living descendants and the children they waited for, microseconds.
pub(crate) fn micros(roots: &[u32]) -> anyhow::Result<u64> {
    let processes = all()?;
    Ok(total(&processes, roots) * (1_000_000 / TICKS_PER_SECOND))
}

/// The most physical memory the process ever held, MiB.
pub(crate) fn peak_mib(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    peak_kib(&status).map(|kib| kib / 1024).context("/proc/PID/status has no VmHWM line")
}

/// The physical memory the process holds now, MiB.
pub(crate) fn resident_mib(process: u32) -> anyhow::Result<u64> {
    Ok(resident_kib(process)? / 1024)
}

/// The physical memory the process holds now, KiB.
pub(crate) fn resident_kib(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    kib(&status, "VmRSS:").context("/proc/PID/status has no VmRSS line")
}

/// The most physical memory a process ever held, KiB; nothing if it has ended.
pub(crate) fn peak_kib_of(process: u32) -> Option<u64> {
    peak_kib(&fs::read_to_string(format!("/proc/{process}/status")).ok()?)
}

/// The living children of a process's children.
pub(crate) fn grandchildren(process: u32) -> BTreeSet<u32> {
    let processes = all().unwrap_or_default();
    let below = |id: u32| processes.get(&id).map(|process| process.parent);
    let ids = processes.keys().copied();
    ids.filter(|id| below(*id).and_then(below) == Some(process)).collect()
}

fn peak_kib(status: &str) -> Option<u64> {
    kib(status, "VmHWM:")
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn all() -> anyhow::Result<BTreeMap<u32, Process>> {
    let entries = fs::read_dir("/proc").context("this measurement needs /proc")?;
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // A process may end between the listing and the reading; its parent then has its time.
    let read = |id: u32| Some((id, parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?));
    Ok(ids.filter_map(read).collect())
}

/// Fields are numbered as in proc_pid_stat(5); the name in parentheses may hold anything.
fn parse(stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = (14..=17).map(field).sum::<Option<u64>>()?;
    Some(Process { parent: u32::try_from(field(4)?).ok()?, ticks })
}

fn total(processes: &BTreeMap<u32, Process>, roots: &[u32]) -> u64 {
    let belongs = |id: &u32| {
        let mut next = *id;
        // Parents form a tree, so the walk ends within as many steps as there are processes.
        for _ in 0..processes.len() {
            if roots.contains(&next) {
                return true;
            }
            match processes.get(&next) {
                Some(process) => next = process.parent,
                None => return false,
            }
        }
        false
    };
    processes.iter().filter(|(id, _)| belongs(id)).map(|(_, process)| process.ticks).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_and_parentheses_do_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 5 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 99";
        assert_eq!(parse(stat), Some(Process { parent: 5, ticks: 100 }));
    }

    #[test]
    fn descendants_count_and_strangers_do_not() {
        let process = |parent, ticks| Process { parent, ticks };
        let list =
            [(2, process(1, 1)), (3, process(2, 10)), (4, process(3, 100)), (9, process(1, 1_000))];
        assert_eq!(total(&list.into(), &[2]), 111);
        // Both are roots and one is below the other: its time counts once.
        assert_eq!(total(&list.into(), &[2, 3]), 111);
    }

    #[test]
    fn own_use_is_seen() {
        assert!(peak_mib(std::process::id()).is_ok());
        assert!(micros(&[std::process::id()]).is_ok());
        assert_eq!(peak_kib("Name: x\nVmHWM:\t  2048 kB\n"), Some(2048));
    }
}
