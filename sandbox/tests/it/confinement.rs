//! What a child that was taken over can do: nothing.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use tallymill_protocol::Outcome;
use tallymill_sandbox::{
    Attempt, Confinement, Control, Ending, Launcher, PrepareError, Protection, Runner, Strength,
    prepare,
};

use crate::guest::{ECHO, job, launcher, module, task};

/// What everybody may do who is not confined, whatever the machine.
const FREE: [&str; 11] = [
    "read a file",
    "create a file",
    "look up a path",
    "open a TCP port",
    "open a UDP port",
    "open a Unix socket",
    "send its parent a signal",
    "run a program",
    "start a process",
    "start a thread",
    "make memory executable",
];

#[test]
fn every_attempt_to_get_out_is_stopped() {
    let protection = Protection::examine(&launcher()).unwrap();
    let open = |attempt: &&Attempt| attempt.ending == Ending::Succeeded;
    assert_eq!(protection.attempts.iter().find(open), None, "{protection:#?}");
    assert_eq!(protection.gap(), None);
    let missing = protection.layers.iter().find(|layer| layer.strength == Strength::Missing);
    assert_eq!(missing, None);
    for name in ["open a UDP port", "send its parent a signal", "run a program", "start a thread"] {
        let killed = protection.attempts.iter().filter(|attempt| attempt.name == name);
        assert!(
            killed
                .map(|attempt| &attempt.ending)
                .all(|e| matches!(e, Ending::Killed(how) if how.contains("SIGSYS"))),
            "{name}"
        );
    }
}

#[test]
fn attempts_are_real() {
    let free = Protection::examine_nothing(&launcher()).unwrap();
    for name in FREE {
        let attempt = free.iter().find(|attempt| attempt.name == name).unwrap();
        assert_eq!(attempt.ending, Ending::Succeeded, "{name}");
    }
}

#[test]
fn descriptors_that_a_parent_leaks_are_closed() {
    let leaked = File::open("/dev/null").unwrap();
    fcntl_setfd(&leaked, FdFlags::empty()).unwrap();
    let ending = |attempts: Vec<Attempt>| {
        let leak = attempts.into_iter().find(|attempt| attempt.name == "use a leaked descriptor");
        leak.unwrap().ending
    };
    assert_eq!(ending(Protection::examine_nothing(&launcher()).unwrap()), Ending::Succeeded);
    let confined = Protection::examine(&launcher()).unwrap().attempts;
    assert_eq!(ending(confined), Ending::Denied("there is none".into()));
}

#[test]
fn landlock_stops_files_ports_and_signals_without_seccomp() {
    let home = tempfile::tempdir().unwrap();
    symlink(env!("CARGO_BIN_EXE_weak-child"), home.path().join("no-seccomp")).unwrap();
    let weak = Launcher::program(home.path().join("no-seccomp"));
    let protection = Protection::examine(&weak).unwrap();
    assert!(protection.gap().unwrap().contains("no seccomp"));
    let full = |name: &str| {
        let layer = protection.layers.iter().find(|layer| layer.name == name).unwrap();
        layer.strength == Strength::Full
    };
    let mut stopped = vec!["read a file", "create a file", "trace its parent"];
    stopped.extend(["open its parent's memory", "copy its parent's memory", "write to its module"]);
    if full("Landlock") {
        stopped.extend(["open a TCP port", "send its parent a signal"]);
    }
    for name in stopped {
        let attempt = protection.attempts.iter().find(|attempt| attempt.name == name).unwrap();
        assert!(matches!(attempt.ending, Ending::Denied(_)), "{name}: {}", attempt.ending);
    }
}

#[test]
fn a_kernel_without_landlock_confines_nothing_unless_told_so() {
    let weak = Launcher::program(env!("CARGO_BIN_EXE_weak-child"));
    let protection = Protection::examine(&weak).unwrap();
    let landlock = protection.layers.iter().find(|layer| layer.name == "Landlock").unwrap();
    assert_eq!(landlock.strength, Strength::Missing);
    let gap = protection.gap().unwrap();
    assert!(gap.contains("no Landlock"), "{gap}");
    // seccomp alone stops them too: no layer leans on another.
    assert!(protection.attempts.iter().all(|attempt| attempt.ending != Ending::Succeeded));

    let refused = prepare(None, &weak, &module(ECHO)).unwrap_err();
    assert!(matches!(&refused, PrepareError::Unconfined(gaps) if gaps.contains("Landlock")));
    let prepared = prepare(None, &launcher(), &module(ECHO)).unwrap();
    let run = |launcher: &Launcher| {
        let mut runner = Runner::new(launcher.clone(), prepared.clone(), Duration::from_secs(60));
        runner.run_one(&task(job(), b"in"), &Control::new().unwrap())
    };
    let void = run(&weak).unwrap_err();
    assert!(void.detail.contains("cannot confine the run: no Landlock"), "{void}");

    let told = weak.with_confinement(Confinement::Available);
    assert!(prepare(None, &told, &module(ECHO)).is_ok());
    assert_eq!(run(&told).unwrap().outcome, Outcome::Exited(0));
}
