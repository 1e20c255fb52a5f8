//! Every example gives the recorded outputs for the recorded fuel.
//!
//! Fuel is money: a change of it is a change of prices. Record an intended one with `TALLYMILL_BLESS=1`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use example_inputs::Example;
use serde_json::Value;
use tallymill_protocol::{Limits, Outcome, Steps, TaskIndex};
use tallymill_sandbox::{
    Control, InputFile, JobSpec, Launcher, Runner, SegmentSpec, TaskResult, TaskSpec,
};

use crate::world::{binary, guest};

const WALL: Duration = Duration::from_secs(600);

/// Runs all tasks of an example in the binary's sandbox.
fn run(example: &Example) -> Vec<TaskResult> {
    let launcher = Launcher::program(binary());
    let module = std::fs::read(guest(example.name)).unwrap();
    let prepared = tallymill_sandbox::prepare(None, &launcher, &module).unwrap();
    let mut spec = JobSpec::new(Limits::default());
    let file = |(name, bytes): &(&str, Vec<u8>)| InputFile {
        name: (*name).to_owned(),
        bytes: bytes.as_slice().into(),
    };
    spec.files = example.files.iter().map(file).collect();
    let spec = Arc::new(spec);
    let mut runner = Runner::new(launcher, prepared, WALL);
    let run_one = |(index, input): (u32, &String)| {
        let input = input.as_bytes().into();
        let task = TaskSpec { job: Arc::clone(&spec), index: TaskIndex(index), input };
        runner.run_one(&task, &Control::new().unwrap()).unwrap()
    };
    (0..).zip(&example.inputs).map(run_one).collect()
}

/// The file's text for these results.
fn record(results: &[TaskResult]) -> String {
    assert!(results.iter().all(|result| result.outcome == Outcome::Exited(0)));
    let fuel: u64 = results.iter().map(|result| result.fuel).sum();
    let outputs = results.iter().map(|result| result.output.to_vec());
    let (tasks, digest) = example_digest::of_outputs(outputs);
    format!(
        "{{\n  \"version\": 1,\n  \"tasks\": {tasks},\n  \"outputs_blake3\": \"{digest}\",\n  \"fuel\": {fuel}\n}}\n"
    )
}

fn expectation(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).join("expected.json")
}

/// Runs all long tasks of an example, each segment from the snapshot of the one before.
fn run_in_steps(example: &Example, steps: Steps) -> Vec<TaskResult> {
    let launcher = Launcher::program(binary());
    let module = std::fs::read(guest(example.name)).unwrap();
    let prepared = tallymill_sandbox::prepare(None, &launcher, &module).unwrap();
    let job = Arc::new(JobSpec::new(Limits { memory: 16 << 20, ..Limits::default() }));
    let mut runner = Runner::new(launcher, prepared, WALL);
    let mut run_one = |(index, input): (u32, &String)| {
        let input = input.as_bytes().into();
        let task = TaskSpec { job: Arc::clone(&job), index: TaskIndex(index), input };
        let mut spec = SegmentSpec { task, steps, from: None, pause_after: None };
        let mut fuel = 0;
        loop {
            let result = runner.run_segment(&spec, &Control::new().unwrap()).unwrap().result;
            fuel += result.fuel;
            if result.outcome != Outcome::Paused {
                return TaskResult { fuel, ..result };
            }
            spec.from = Some(result.output.into());
        }
    };
    (0..).zip(&example.inputs).map(&mut run_one).collect()
}

/// Compares a run of everything with the record, or makes the record.
fn compare(name: &str) {
    let example = example_inputs::all().into_iter().find(|example| example.name == name).unwrap();
    compare_with(name, &run(&example));
}

fn compare_with(name: &str, results: &[TaskResult]) {
    let found = record(results);
    let path = expectation(name);
    if std::env::var_os("TALLYMILL_BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(read(&found), read(&std::fs::read_to_string(path).unwrap()));
}

#[test]
fn mersenne_is_as_recorded() {
    compare("mersenne");
}

#[test]
fn align_is_as_recorded() {
    compare("align");
}

#[test]
fn seti_is_as_recorded() {
    compare("seti");
}

#[test]
fn lehmer_is_as_recorded_however_its_tasks_are_divided() {
    let example = example_inputs::long().into_iter().find(|it| it.name == "lehmer").unwrap();
    for segment in [1 << 62, 9_000_000_000] {
        let steps = Steps { budget: 100_000_000, segment };
        compare_with("lehmer", &run_in_steps(&example, steps));
    }
}
