//! What a child that was taken over can do: nothing.

use tallymill_sandbox::{Attempt, Ending, Protection, Strength};

use crate::guest::launcher;

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
