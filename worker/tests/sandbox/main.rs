//! The worker's way into the sandbox: real guests in real processes, which serve one payer each and may die.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{AccountId, Digest, Limits, Outcome, TaskIndex};
use tallymill_sandbox::{JobSpec, Launcher, TaskResult, TaskSpec, Void};
use tallymill_worker::{Control, Execute, Placement, Sandboxed};

/// Writes its input back; for the input "spin" it never ends.
const GUEST: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 64))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (if (i32.eq (i32.load (i32.const 64)) (i32.const 0x6e697073)) (then (loop $again (br $again))))
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Children are found by their parent, which all tests here share.
static ALONE: Mutex<()> = Mutex::new(());

struct World {
    execute: Sandboxed,
    module: Digest,
    _dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

type Answers = Vec<Result<TaskResult, Void>>;

impl World {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let launcher = Launcher::program(env!("CARGO_BIN_EXE_worker-child"));
        let hour = Duration::from_secs(3600);
        let execute = Sandboxed::open(launcher, dir.path(), 64 << 20, hour).unwrap();
        let bytes = wat::parse_str(GUEST).unwrap();
        let module = Digest::of(&bytes);
        assert_eq!(execute.ready(&module), None);
        let prepared = execute.prepare(module, &bytes).unwrap();
        assert_eq!(execute.ready(&module), Some(prepared));
        Self { execute, module, _dir: dir, _alone: alone }
    }

    fn run(&self, payer: u8, inputs: &[&str], control: &Control) -> Answers {
        let limits = Limits { fuel: 1 << 61, ..Limits::default() };
        let job = Arc::new(JobSpec::new(limits));
        let task = |(index, input): (u32, &&str)| TaskSpec {
            job: job.clone(),
            index: TaskIndex(index),
            input: input.as_bytes().into(),
        };
        let tasks: Vec<TaskSpec> = (0..).zip(inputs).map(task).collect();
        let mut answers: Vec<_> = tasks.iter().map(|_| None).collect();
        let module = self.execute.ready(&self.module).unwrap();
        let placement = Placement { payer: AccountId([payer; 32]), module };
        self.execute.run(placement, &tasks, control, &mut |at, answer| {
            assert!(answers[at].replace(answer).is_none(), "task {at} is answered twice");
        });
        answers.into_iter().map(Option::unwrap).collect()
    }

    fn echoes(&self, payer: u8, inputs: &[&str]) {
        let answers = self.run(payer, inputs, &Control::new().unwrap());
        for (answer, input) in answers.into_iter().zip(inputs) {
            let result = answer.unwrap();
            assert_eq!(
                (result.outcome, result.output),
                (Outcome::Exited(0), input.as_bytes().into())
            );
        }
    }
}

/// Process ids of the children that live.
fn children() -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let list = std::fs::read_to_string(task.unwrap().path().join("children"));
        found.extend(
            list.unwrap_or_default().split_whitespace().map(|id| id.parse::<u32>().unwrap()),
        );
    }
    found
}

#[test]
fn tasks_of_one_payer_share_a_child_and_those_of_two_never_do() {
    let world = World::new();
    world.echoes(1, &["a", "b"]);
    let first = children();
    assert_eq!(first.len(), 1);
    world.echoes(1, &["c"]);
    assert_eq!(children(), first);
    world.echoes(2, &["d"]);
    let both = children();
    assert_eq!(both.len(), 2);
    world.echoes(2, &["e"]);
    world.echoes(1, &["f"]);
    assert_eq!(children(), both);
    drop(world);
}

#[test]
fn task_whose_child_is_killed_is_void_and_the_others_run() {
    let world = World::new();
    world.echoes(1, &["warm"]);
    let child = *children().first().unwrap();
    let control = Control::new().unwrap();
    let (answered, answers) = channel();
    std::thread::scope(|scope| {
        scope
            .spawn(|| answered.send(world.run(1, &["before", "spin", "after"], &control)).unwrap());
        while control.progress().is_none_or(|progress| progress.index != TaskIndex(1)) {
            std::thread::yield_now();
        }
        assert!(Command::new("kill").args(["-9", &child.to_string()]).status().unwrap().success());
    });
    let answers: Answers = answers.recv().unwrap();
    assert_eq!(answers[0].as_ref().unwrap().output, b"before");
    assert_eq!(answers[1].as_ref().unwrap_err().cause, VoidCause::ChildDied);
    assert_eq!(answers[2].as_ref().unwrap().output, b"after");
    assert!(!children().contains(&child));
    world.echoes(1, &["the worker lives"]);
}

#[test]
fn withdrawn_runs_end_with_their_child() {
    let world = World::new();
    let control = Control::new().unwrap();
    let (answered, answers) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| answered.send(world.run(1, &["spin"], &control)).unwrap());
        while control.progress().is_none() {
            std::thread::yield_now();
        }
        control.withdraw();
    });
    assert_eq!(answers.recv().unwrap()[0].as_ref().unwrap_err().cause, VoidCause::Withdrawn);
    assert!(children().is_empty());
}

#[test]
fn module_that_cannot_be_is_void_and_never_ready() {
    let world = World::new();
    let void = world.execute.prepare(Digest::of(b"junk"), b"junk").unwrap_err();
    assert_eq!(void.cause, VoidCause::Compile);
    assert_eq!(world.execute.ready(&Digest::of(b"junk")), None);
}

#[test]
fn a_module_that_cannot_be_made_ready_costs_one_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("child");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_worker-child"), &program).unwrap();
    let launcher = Launcher::program(&program);
    let minute = Duration::from_secs(60);
    let execute = Sandboxed::open(launcher, &dir.path().join("m"), 64 << 20, minute).unwrap();
    let prepare = |bytes: &[u8]| execute.prepare(Digest::of(bytes), bytes).unwrap_err();
    let first = prepare(b"no module");
    assert!(first.detail.contains("rule 1"), "{first}");
    // Nothing can be started any more, and for this module nothing has to be.
    std::fs::remove_file(&program).unwrap();
    assert_eq!(prepare(b"no module"), first);
    let other = prepare(b"another");
    assert!(other.detail.contains("No such file"), "{other}");
}
