//! Guests in processes of their own: what crosses the border, and what happens when a process dies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tallymill_meter::SLICE;
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Limits, Outcome, TaskIndex};
use tallymill_sandbox::{
    CompileLimits, Control, JobSpec, Launcher, Patience, PrepareError, Runner, TaskResult,
    TaskSpec, Void, ordinary_rate, prepare, screen,
};

use crate::guest::{
    ECHO, SPIN, compiled, exits, file, job, launcher, limits, module, run_compiled, task,
};

const HOUR: Duration = Duration::from_secs(3600);

fn runner(text: &str, wall: Duration) -> Runner {
    Runner::new(launcher(), prepare(None, &launcher(), &module(text)).unwrap(), wall)
}

fn batch(job: JobSpec, inputs: impl IntoIterator<Item = Vec<u8>>) -> Vec<TaskSpec> {
    let job = Arc::new(job);
    let task = |(index, input): (u32, Vec<u8>)| TaskSpec {
        job: job.clone(),
        index: TaskIndex(index),
        input: input.into(),
    };
    (0..).zip(inputs).map(task).collect()
}

type Answers = Vec<Option<Result<TaskResult, Void>>>;

/// Runs a batch to its end; every task must be answered exactly once.
fn run_all(
    runner: &mut Runner,
    tasks: &[TaskSpec],
    control: &Control,
) -> Vec<Result<TaskResult, Void>> {
    let mut answers: Answers = vec![None; tasks.len()];
    runner.run_batch(tasks, control, &mut |position, result| {
        assert!(answers[position].replace(result).is_none(), "task {position} is answered twice");
    });
    answers.into_iter().map(|answer| answer.expect("every task is answered")).collect()
}

/// Ends at once for the input "e", otherwise never.
const SOME_SPIN: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 101)) (then (loop $again (br $again))))))"#;

fn endless() -> JobSpec {
    JobSpec::new(Limits { fuel: 1 << 61, ..limits() })
}

#[test]
fn a_batch_gives_what_running_here_gives() {
    let mut runner = runner(ECHO, HOUR);
    let tasks = batch(job(), (0..2000u32).map(|n| n.to_string().into_bytes()));
    let here = compiled(&module(ECHO));
    let results = run_all(&mut runner, &tasks, &Control::new().unwrap());
    for (task, result) in tasks.iter().zip(&results).step_by(100) {
        let expected = run_compiled(&here, task).unwrap();
        assert_eq!(
            TaskResult { cpu_time_us: 0, ..result.clone().unwrap() },
            TaskResult { cpu_time_us: 0, ..expected }
        );
    }
    assert!(
        tasks
            .iter()
            .zip(&results)
            .all(|(task, result)| result.as_ref().unwrap().output == *task.input)
    );
}

#[test]
fn large_inputs_outputs_and_files_pass() {
    let job = JobSpec {
        files: vec![file("big", &vec![1; 3 << 20])],
        ..JobSpec::new(Limits { output: 8 << 20, ..limits() })
    };
    let mut runner = runner(ECHO, HOUR);
    let tasks = batch(job, (0..4u8).map(|n| vec![n; 5 << 20]));
    let results = run_all(&mut runner, &tasks, &Control::new().unwrap());
    assert!(
        tasks
            .iter()
            .zip(&results)
            .all(|(task, result)| result.as_ref().unwrap().output == *task.input)
    );
}

#[test]
fn jobs_may_change_within_a_batch() {
    let text = exits(
        &["args_sizes_get"],
        "",
        "(drop (call $args_sizes_get (i32.const 0) (i32.const 4))) (i32.load (i32.const 0))",
    );
    let mut runner = runner(&text, HOUR);
    let with = |count: usize| task(JobSpec { argv: vec!["x".into(); count], ..job() }, b"");
    let results = run_all(&mut runner, &[with(1), with(5), with(2)], &Control::new().unwrap());
    let codes: Vec<_> = results.into_iter().map(|result| result.unwrap().outcome).collect();
    assert_eq!(codes, [Outcome::Exited(2), Outcome::Exited(6), Outcome::Exited(3)]);
}

#[test]
fn one_child_serves_batch_after_batch() {
    let mut runner = runner(ECHO, HOUR);
    assert_eq!(runner.child_id(), None);
    runner.run_one(&task(job(), b"1"), &Control::new().unwrap()).unwrap();
    let first = runner.child_id().unwrap();
    runner.run_one(&task(job(), b"2"), &Control::new().unwrap()).unwrap();
    assert_eq!(runner.child_id(), Some(first));
}

#[test]
fn a_child_has_no_environment_no_new_privileges_and_no_core_file() {
    let mut runner = runner(ECHO, HOUR);
    runner.run_one(&task(job(), b""), &Control::new().unwrap()).unwrap();
    let process = format!("/proc/{}", runner.child_id().unwrap());
    // Root may read what is not dumpable; others may not, and that is the other half of the promise.
    if let Ok(environment) = std::fs::read(format!("{process}/environ")) {
        assert!(environment.is_empty(), "{}", String::from_utf8_lossy(&environment));
    }
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let child = runner.child_id().unwrap();
    assert_eq!(limit(child, "Max core file size"), 0);
    assert_eq!(limit(child, "Max file size"), 0);
    assert!(limit(child, "Max open files") <= 32);
    assert!(limit(child, "Max address space") < 64 << 30);
}

/// A soft limit of a process.
fn limit(process: u32, name: &str) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap_or(u64::MAX)
}

#[test]
fn a_child_gets_the_memory_that_its_jobs_ask_for_and_no_more() {
    let mut runner = runner(ECHO, HOUR);
    let control = Control::new().unwrap();
    let data = |runner: &Runner| limit(runner.child_id().unwrap(), "Max data size");
    runner.run_one(&task(job(), b"x"), &control).unwrap();
    let small = data(&runner);
    assert!(small < 1 << 30, "{small}");
    let roomy = JobSpec::new(Limits { memory: 3 << 30, ..limits() });
    runner.run_one(&task(roomy, b"x"), &control).unwrap();
    let more = (3u64 << 30) - limits().memory;
    assert_eq!(data(&runner), small + more);
    runner.run_one(&task(job(), b"x"), &control).unwrap();
    assert_eq!(data(&runner), small + more, "what is mapped stays mapped");
}

/// Grows by `pages` and touches the last of them.
fn grows(pages: u32) -> String {
    format!(
        r#"(module (memory (export "memory") 1) (func (export "_start")
            (if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable))
            (i32.store (i32.const {}) (i32.const 1))))"#,
        pages * 65_536
    )
}

#[test]
fn a_guest_can_use_all_memory_of_its_limits_in_a_child() {
    let mut runner = runner(&grows(16_000), HOUR);
    let limits = Limits { fuel: 1 << 40, memory: 1 << 30, output: 1, log: 1, ..limits() };
    let job = JobSpec::new(limits);
    let result = runner.run_one(&task(job, b""), &Control::new().unwrap()).unwrap();
    assert_eq!((result.outcome, result.peak_memory), (Outcome::Exited(0), 16_001 * 65_536));
}

#[test]
fn an_old_child_is_replaced_between_two_tasks() {
    let mut runner = runner(ECHO, HOUR).with_oldest(Duration::ZERO);
    let tasks = batch(job(), (0..5u8).map(|n| vec![n; 10]));
    let results = run_all(&mut runner, &tasks, &Control::new().unwrap());
    let right = |(task, result): (&TaskSpec, &Result<TaskResult, Void>)| {
        result.as_ref().unwrap().output == *task.input
    };
    assert!(tasks.iter().zip(&results).all(right));
    assert_eq!(runner.child_id(), None, "it had grown too old for another task");
}

#[test]
fn a_child_cannot_use_more_processor_time_than_its_life_has() {
    let minute = Duration::from_secs(60);
    let mut runner = runner(ECHO, minute).with_oldest(minute);
    runner.run_one(&task(job(), b""), &Control::new().unwrap()).unwrap();
    assert_eq!(limit(runner.child_id().unwrap(), "Max cpu time"), 2 * (60 + 60) + 60);
}

fn kill(id: u32) {
    let id = rustix::process::Pid::from_raw(id.cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
}

/// Waits until a task runs, tells which, and does something to it.
fn once_running(control: &Control, index: u32) {
    while control
        .progress()
        .is_none_or(|progress| progress.index != TaskIndex(index) || progress.fuel < SLICE)
    {
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_child_voids_the_task_it_ran_and_no_other() {
    let mut runner = runner(SOME_SPIN, HOUR);
    runner.run_one(&task(endless(), b"e"), &Control::new().unwrap()).unwrap();
    let child = runner.child_id().unwrap();
    let control = Control::new().unwrap();
    let tasks = batch(endless(), ["e", "e", "spin", "e", "e"].map(|text| text.as_bytes().to_vec()));
    let results = std::thread::scope(|scope| {
        let running = scope.spawn(|| run_all(&mut runner, &tasks, &control));
        once_running(&control, 2);
        kill(child);
        running.join().unwrap()
    });
    let void = results[2].clone().unwrap_err();
    assert_eq!(void.cause, VoidCause::ChildDied);
    assert!(void.detail.contains("SIGKILL"), "{void}");
    for position in [0, 1, 3, 4] {
        assert_eq!(results[position].as_ref().unwrap().outcome, Outcome::Exited(0));
    }
    assert_ne!(runner.child_id(), Some(child));
}

#[test]
fn the_wall_clock_ends_a_task_and_the_next_ones_run() {
    let mut runner = runner(SOME_SPIN, Duration::from_millis(300));
    let tasks = batch(endless(), ["spin", "e"].map(|text| text.as_bytes().to_vec()));
    let results = run_all(&mut runner, &tasks, &Control::new().unwrap());
    assert_eq!(results[0].as_ref().unwrap_err().cause, VoidCause::WallClock);
    assert_eq!(results[1].as_ref().unwrap().outcome, Outcome::Exited(0));
}

#[test]
fn stopping_a_task_acts_at_a_slice_and_spares_the_others() {
    let mut runner = runner(SOME_SPIN, HOUR);
    let control = Control::new().unwrap();
    let tasks = batch(endless(), ["e", "spin", "spin", "e"].map(|text| text.as_bytes().to_vec()));
    let results = std::thread::scope(|scope| {
        let running = scope.spawn(|| run_all(&mut runner, &tasks, &control));
        once_running(&control, 1);
        control.stop(TaskIndex(2));
        control.stop(TaskIndex(1));
        running.join().unwrap()
    });
    let of = |position: usize| results[position].clone().unwrap();
    assert_eq!((of(1).outcome, of(2).outcome), (Outcome::Stopped, Outcome::Stopped));
    assert!(of(1).fuel >= SLICE);
    assert_eq!(of(2).fuel, 0, "it had not begun");
    assert_eq!((of(0).outcome, of(3).outcome), (Outcome::Exited(0), Outcome::Exited(0)));
}

#[test]
fn stopping_all_reaches_tasks_not_sent_yet() {
    let mut runner = runner(SOME_SPIN, HOUR);
    let control = Control::new().unwrap();
    let tasks = batch(endless(), (0..3000).map(|_| b"spin".to_vec()));
    let results = std::thread::scope(|scope| {
        let running = scope.spawn(|| run_all(&mut runner, &tasks, &control));
        once_running(&control, 0);
        control.stop_all();
        running.join().unwrap()
    });
    assert!(results.iter().all(|result| result.as_ref().unwrap().outcome == Outcome::Stopped));
    let after = runner.run_one(&task(endless(), b"e"), &Control::new().unwrap()).unwrap();
    assert_eq!(after.outcome, Outcome::Exited(0));
}

#[test]
fn what_pays_too_little_is_ended_and_what_waits_behind_it_given_back() {
    let mut runner = runner(SOME_SPIN, HOUR);
    let with = |fuel_per_us| {
        Control::new().unwrap().with_patience(Some(Patience { beyond_us: 300_000, fuel_per_us }))
    };
    let tasks = batch(endless(), ["e", "spin", "e"].map(|text| text.as_bytes().to_vec()));
    let control = with(u64::MAX / 2);
    let results = run_all(&mut runner, &tasks, &control);
    assert!(control.is_out_of_patience());
    assert_eq!(results[0].as_ref().unwrap().outcome, Outcome::Exited(0));
    let void = |at: usize| results[at].clone().unwrap_err();
    assert_eq!((void(1).cause, void(2).cause), (VoidCause::OwnerLimit, VoidCause::Withdrawn));
    assert!(void(1).detail.contains("paid for 0.0 s"), "{}", void(1).detail);
    // The same for one who asks a price that any fuel pays.
    let control = with(1);
    let results = std::thread::scope(|scope| {
        let running = scope.spawn(|| run_all(&mut runner, &tasks, &control));
        once_running(&control, 1);
        let begun = Instant::now();
        // Until it would have been ended long ago.
        while begun.elapsed() < Duration::from_secs(1) {
            assert!(!running.is_finished(), "it was ended");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        control.stop_all();
        running.join().unwrap()
    });
    assert_eq!(results[1].as_ref().unwrap().outcome, Outcome::Stopped);
    assert!(!control.is_out_of_patience());
}

#[test]
fn ordinary_work_pays_alike_whenever_it_is_asked() {
    let [one, other] = [(); 2].map(|()| ordinary_rate(&launcher()).unwrap());
    // Fuel a microsecond: a tenth of what slow machines do, and ten times what fast ones do.
    assert!((2_000..2_000_000).contains(&one), "{one}");
    assert!(one < 4 * other && other < 4 * one, "{one} and {other}");
}

#[test]
fn a_withdrawn_batch_is_void_at_once() {
    let mut runner = runner(SOME_SPIN, HOUR);
    let control = Control::new().unwrap();
    let tasks = batch(endless(), ["e", "spin", "e"].map(|text| text.as_bytes().to_vec()));
    let results = std::thread::scope(|scope| {
        let running = scope.spawn(|| run_all(&mut runner, &tasks, &control));
        once_running(&control, 1);
        control.withdraw();
        running.join().unwrap()
    });
    assert!(results[0].is_ok());
    assert!(
        results[1..]
            .iter()
            .all(|result| result.as_ref().unwrap_err().cause == VoidCause::Withdrawn)
    );
    assert_eq!(runner.child_id(), None);
}

#[test]
fn a_program_that_is_no_child_voids_the_batch_instead_of_hanging() {
    let prepared = prepare(None, &launcher(), &module(ECHO)).unwrap();
    let tasks = batch(job(), [b"1".to_vec(), b"2".to_vec()]);
    for (program, cause) in
        [("/bin/true", VoidCause::ChildDied), ("/nonexistent", VoidCause::Other)]
    {
        let mut runner = Runner::new(Launcher::program(program), prepared.clone(), HOUR);
        let results = run_all(&mut runner, &tasks, &Control::new().unwrap());
        assert!(
            results.iter().all(|result| result.as_ref().unwrap_err().cause == cause),
            "{results:?}"
        );
    }
}

#[test]
fn a_child_that_talks_nonsense_is_ended() {
    let prepared = prepare(None, &launcher(), &module(ECHO)).unwrap();
    // It repeats what it is told on the wrong descriptor, or answers with a frame of four gigabytes.
    let mut runner = Runner::new(Launcher::program("/usr/bin/yes"), prepared, HOUR);
    let void = runner.run_one(&task(job(), b""), &Control::new().unwrap()).unwrap_err();
    assert_eq!(void.cause, VoidCause::ChildDied);
    assert!(void.detail.contains("at most"), "{void}");
}

#[test]
fn limits_that_no_frame_can_carry_are_void_before_anything_is_sent() {
    let mut runner = runner(ECHO, HOUR);
    let huge = JobSpec::new(Limits { output: u64::MAX, ..limits() });
    let void = runner.run_one(&task(huge, b""), &Control::new().unwrap()).unwrap_err();
    assert_eq!((void.cause, runner.child_id()), (VoidCause::OwnerLimit, None));
}

#[test]
fn a_refused_module_comes_back_with_the_meters_words() {
    let bad = module("(module (import \"env\" \"f\" (func)) (func (export \"_start\")))");
    let expected = screen(&bad).unwrap_err().to_string();
    match prepare(None, &launcher(), &bad).unwrap_err() {
        PrepareError::Refused(why) => assert_eq!(why, expected),
        other => panic!("{other}"),
    }
    let invalid = prepare(None, &launcher(), b"\0asm\x01\0\0\0\x0a\x01").unwrap_err();
    assert!(invalid.to_string().contains("offset"), "{invalid}");
    let long = prepare(None, &launcher(), &vec![0; (8 << 20) + 1]).unwrap_err();
    assert!(matches!(long, PrepareError::TooLong { limit: 8_388_608, .. }), "{long}");
}

/// A valid module within the screening limits that takes Cranelift seconds and hundreds of megabytes.
fn costly() -> Vec<u8> {
    let line =
        "(local.set 0 (i32.add (local.get 0) (i32.mul (local.get 1) (i32.load (local.get 0)))))";
    let functions: String =
        (0..4000).map(|_| format!("(func (param i32 i32) {})", line.repeat(60))).collect();
    module(&format!("(module (memory 1) {functions} (func (export \"_start\")))"))
}

#[test]
fn compiling_beyond_its_limits_is_stopped() {
    let costly = costly();
    let stopped = |cpu_seconds, memory| {
        let launcher = Launcher::program(env!("CARGO_BIN_EXE_sandbox-child"));
        let limits = CompileLimits { cpu_seconds, memory };
        prepare(None, &launcher.with_compile_limits(limits), &costly).unwrap_err()
    };
    let by_time = stopped(1, 1 << 40);
    assert!(
        matches!(&by_time, PrepareError::TooCostly { status, .. } if status.contains("SIG")),
        "{by_time}"
    );
    let by_memory = stopped(100, 8 << 20);
    assert!(by_memory.to_string().contains("at most 100 s of CPU time and 8 MiB"), "{by_memory}");
}

#[test]
fn a_compiler_that_dies_is_an_error_with_its_status() {
    let error = prepare(None, &Launcher::program("/bin/false"), &module(SPIN)).unwrap_err();
    assert!(
        matches!(&error, PrepareError::TooCostly { status, .. } if status.contains("exit status: 1")),
        "{error}"
    );
}
