//! Guests that mean harm, in the children that a worker starts.

use std::time::Duration;

use tallymill_hostile::{Contained, Guest, benign, corpus, harms, ordinary};
use tallymill_protocol::Outcome;
use tallymill_sandbox::{
    Cache, CompileLimits, Control, JobSpec, Launcher, PrepareError, Runner, TaskResult, Void,
    prepare, screen,
};

use crate::guest::{job, launcher, task};

fn each(wanted: impl Fn(&Contained) -> bool) -> impl Iterator<Item = Guest> {
    corpus().into_iter().filter(move |guest| wanted(&guest.contained))
}

/// Runs a guest in a child, and says whether another task was served after it.
fn in_a_child(guest: &Guest) -> (Result<TaskResult, Void>, bool) {
    let prepared = prepare(None, &launcher(), &guest.module()).expect(guest.name);
    let mut runner = Runner::new(launcher(), prepared, Duration::from_secs(60));
    let control = Control::new().unwrap();
    let result = runner.run_one(&task(JobSpec::new(guest.limits()), b"in"), &control);
    let child = runner.child_id();
    let again = runner.run_one(&task(JobSpec::new(guest.limits()), b"in"), &control);
    let alike = again.is_ok_and(|again| {
        result.as_ref().is_ok_and(|result| {
            (again.outcome, again.fuel, again.output)
                == (result.outcome, result.fuel, result.output.clone())
        })
    });
    (result, alike && runner.child_id() == child)
}

#[test]
fn what_is_refused_is_refused_by_coordinator_and_compile_child_in_the_same_words() {
    for guest in each(|contained| !contained.is_accepted()) {
        let module = guest.module();
        let said = screen(&module).expect_err(guest.name).to_string();
        assert!(guest.contained.is_refusal(&said), "{}: {said}", guest.name);
        match prepare(None, &launcher(), &module).expect_err(guest.name) {
            PrepareError::Refused(why) => assert_eq!(why, said, "{}", guest.name),
            long @ PrepareError::TooLong { .. } => assert_eq!(long.to_string(), said),
            other => panic!("{}: {other}", guest.name),
        }
    }
}

#[test]
fn what_runs_ends_as_the_table_says_and_its_child_serves_the_next_task() {
    for guest in each(Contained::runs) {
        let (result, alive) = in_a_child(&guest);
        let result = result.unwrap_or_else(|void| panic!("{}: {void}", guest.name));
        assert!(guest.contained.is_outcome(result.outcome), "{}: {}", guest.name, result.outcome);
        assert!(alive, "{}: the second run differs, or the child is gone", guest.name);
        let limits = guest.limits();
        assert!(
            result.fuel <= limits.fuel && result.peak_memory <= limits.memory,
            "{}",
            guest.name
        );
        // Bytes that a machine delivers are a figure of the receipt, or bounded by a limit that the owner signed.
        let counted = [result.bytes_in, result.bytes_out];
        assert_eq!(counted, [2, result.output.len() as u64], "{}", guest.name);
        assert!(result.bytes_out <= limits.output, "{}", guest.name);
        assert!(result.log.len() as u64 <= limits.log, "{}", guest.name);
        let pages = u128::from(result.peak_memory.div_ceil(65_536));
        assert!(
            u128::from(result.memory_fuel) <= pages * u128::from(result.fuel),
            "{}",
            guest.name
        );
        if result.outcome == Outcome::FuelExhausted {
            assert_eq!(result.fuel, limits.fuel, "{}", guest.name);
        }
    }
}

#[test]
fn what_cannot_be_compiled_within_limits_is_stopped() {
    let limits = CompileLimits { cpu_seconds: 1, ..CompileLimits::default() };
    let program = env!("CARGO_BIN_EXE_sandbox-child");
    for guest in each(|contained| *contained == Contained::NotCompiled) {
        let launcher = Launcher::program(program).with_compile_limits(limits);
        let error = prepare(None, &launcher, &guest.module()).expect_err(guest.name);
        let stopped = matches!(error, PrepareError::TooCostly { .. } | PrepareError::Engine(_));
        assert!(stopped, "{}: {error}", guest.name);
    }
}

/// What stays in a worker's cache is a multiple of what its owner uploaded.
#[test]
fn a_compiled_module_takes_room_in_proportion_to_its_own() {
    let home = tempfile::tempdir().unwrap();
    let cache = Cache::open(home.path().join("cache"), 1 << 30).unwrap();
    let kept = || -> u64 {
        let files = std::fs::read_dir(home.path().join("cache")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    for harm in harms().into_iter().chain(ordinary()) {
        let (before, module) = (kept(), harm.module());
        prepare(Some(&cache), &launcher(), &module).expect(harm.name);
        let (room, own) = (kept() - before, module.len() as u64);
        assert!(room <= (64 << 10) + 32 * own, "{}: {room} bytes of {own}", harm.name);
    }
}

#[test]
fn guests_that_cost_most_are_paid_for_until_their_fuel_is_gone() {
    for harm in harms().iter().chain(&ordinary()) {
        let metered = screen(&harm.module()).unwrap_or_else(|e| panic!("{}: {e}", harm.name));
        assert!(metered.info.exports_start, "{}", harm.name);
    }
}

#[test]
fn the_benign_guest_does_its_work() {
    let prepared = prepare(None, &launcher(), &benign()).unwrap();
    let mut runner = Runner::new(launcher(), prepared, Duration::from_secs(60));
    let result = runner.run_one(&task(job(), b"in"), &Control::new().unwrap()).unwrap();
    assert_eq!((result.outcome, result.output), (Outcome::Exited(0), b"in".to_vec()));
}
