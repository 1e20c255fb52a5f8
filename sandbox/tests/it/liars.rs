//! Children that were taken over and lie: no lie reaches another task or another module.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Digest, Outcome, Steps, TaskIndex};
use tallymill_sandbox::{
    Cache, Control, Launcher, PrepareError, Runner, SegmentSpec, TaskResult, TaskSpec, Void,
    prepare,
};
use tempfile::TempDir;

use crate::guest::{ECHO, SPIN, job, launcher, module, task};

/// Children that tell this lie.
fn liar(home: &Path, lie: &str) -> Launcher {
    let name = home.join(lie);
    symlink(env!("CARGO_BIN_EXE_liar"), &name).unwrap();
    Launcher::program(name)
}

/// Three tasks of which the liar is sent all; every one has exactly one answer.
fn answers(lie: &str) -> Vec<Result<TaskResult, Void>> {
    let home = TempDir::new().unwrap();
    let prepared = prepare(None, &launcher(), &module(ECHO)).unwrap();
    let mut runner = Runner::new(liar(home.path(), lie), prepared, Duration::from_secs(60));
    let job = Arc::new(job());
    let task = |n| TaskSpec { job: job.clone(), index: TaskIndex(n), input: Arc::from(&b"in"[..]) };
    let tasks: Vec<_> = (0..3).map(task).collect();
    let mut answers = vec![None; tasks.len()];
    runner.run_batch(&tasks, &Control::new().unwrap(), &mut |at, answer| {
        assert!(answers[at].replace(answer).is_none(), "task {at} is answered twice");
    });
    answers.into_iter().map(Option::unwrap).collect()
}

/// Every task is void, the child ended for what it sent.
fn seen_through(lie: &str, why: &str) {
    for answer in answers(lie) {
        let void = answer.unwrap_err();
        assert_eq!(void.cause, VoidCause::ChildDied, "{lie}");
        assert!(void.detail.contains(why), "{lie}: {void}");
    }
}

#[test]
fn a_child_that_behaves_is_believed_about_its_own_task() {
    for answer in answers("behaves") {
        assert_eq!(answer.unwrap().output, b"forged", "only another machine can tell");
    }
}

#[test]
fn a_whole_task_is_no_answer_where_a_segment_was_asked_for() {
    let home = TempDir::new().unwrap();
    let prepared = prepare(None, &launcher(), &module(ECHO)).unwrap();
    let launcher = liar(home.path(), "behaves");
    let mut runner = Runner::new(launcher, prepared, Duration::from_secs(60));
    let (task, steps) = (task(job(), b"in"), Steps { budget: 1, segment: 1 << 22 });
    let spec = SegmentSpec { task, steps, from: None, pause_after: None };
    let void = runner.run_segment(&spec, &Control::new().unwrap()).unwrap_err();
    assert!(void.detail.contains("a segment was asked for"), "{void}");
}

#[test]
fn an_answer_for_another_task_is_not_taken() {
    seen_through("answers-for-the-next", "out of turn");
    seen_through("answers-unasked", "before any question");
    seen_through("loads-again", "out of turn");
}

#[test]
fn a_second_answer_for_the_same_task_is_not_taken_for_the_next() {
    let answers = answers("answers-twice");
    // The first answer of each child counts; its second would have been that of the task after.
    assert!(answers.iter().all(|answer| match answer {
        Ok(result) => result.output == b"forged",
        Err(void) => void.cause == VoidCause::ChildDied,
    }));
}

#[test]
fn figures_that_cannot_be_are_not_taken() {
    seen_through("uses-too-much-fuel", "more fuel than the limit");
    seen_through("read-another-input", "another length of input");
    seen_through("pauses", "nothing was to be continued");
}

#[test]
fn progress_that_is_none_ends_the_child() {
    seen_through("goes-back", "no progress");
    seen_through("says-nothing-new", "no progress");
}

#[test]
fn processor_time_that_cannot_be_is_cut_to_what_passed() {
    for answer in answers("claims-a-century") {
        assert!(answer.unwrap().cpu_time_us < 60_000_000);
    }
}

#[test]
fn a_frame_beyond_its_limit_ends_the_child() {
    seen_through("announces-four-gigabytes", "at most");
}

#[test]
fn a_compiler_that_was_taken_over_changes_no_other_module() {
    let home = TempDir::new().unwrap();
    let cache = Cache::open(home.path().join("cache"), 1 << 30).unwrap();
    let (echo, spin) = (module(ECHO), module(SPIN));
    prepare(Some(&cache), &launcher(), &echo).unwrap();
    let entries = || {
        let paths = fs::read_dir(home.path().join("cache")).unwrap().map(|e| e.unwrap().path());
        let mut all: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        all.sort();
        all
    };
    let before = entries();
    let forged = prepare(Some(&cache), &liar(home.path(), "compiles-an-attack"), &spin).unwrap();
    let after = entries();
    assert_eq!(after.len(), before.len() + 1, "one entry came, under the key of its own module");
    assert!(before.iter().all(|entry| after.contains(entry)), "the others are as they were");
    assert_eq!((forged.original, forged.metered), (Digest::of(&spin), Digest([7; 32])));

    let run = |prepared| {
        let mut runner = Runner::new(launcher(), prepared, Duration::from_secs(60));
        runner.run_one(&task(job(), b"in"), &Control::new().unwrap())
    };
    assert_eq!(run(forged).unwrap_err().cause, VoidCause::Compile);
    let intact = cache.get(Digest::of(&echo)).unwrap();
    assert_eq!(run(intact).unwrap().outcome, Outcome::Exited(0));
}

#[test]
fn a_compiler_that_floods_is_ended() {
    let home = TempDir::new().unwrap();
    let flood = liar(home.path(), "announces-four-gigabytes");
    let error = prepare(None, &flood, &module(ECHO)).unwrap_err();
    assert!(matches!(&error, PrepareError::Engine(why) if why.contains("at most")), "{error}");
}
