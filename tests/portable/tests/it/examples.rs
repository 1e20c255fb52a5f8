//! The example jobs on every engine.

use std::path::PathBuf;
use std::sync::Arc;

use tallymill_meter::Slices;
use tallymill_portable::{Bench, Subject};
use tallymill_protocol::{Limits, Outcome, TaskIndex};
use tallymill_sandbox::{InputFile, JobSpec, TaskSpec, screen_for, with_stack};

/// The tasks that are compared: all of the kernels, which are small, a prime and another exponent, and one each of the rest.
fn chosen(name: &str, index: usize, tasks: usize) -> bool {
    match name {
        "kernels" => true,
        "mersenne" => index == 2281 - 2 || index == 1000,
        _ => index + 1 == tasks,
    }
}

pub fn guest(name: &str) -> PathBuf {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(default, PathBuf::from);
    let path = target.join("guests").join(name).with_extension("wasm");
    assert!(path.is_file(), "{} is missing; run: cargo xtask guests", path.display());
    path
}

pub fn job(example: &example_inputs::Example) -> Arc<JobSpec> {
    let mut job = JobSpec::new(Limits::default());
    job.files = example
        .files
        .iter()
        .map(|(name, bytes)| InputFile { name: (*name).to_owned(), bytes: bytes.as_slice().into() })
        .collect();
    Arc::new(job)
}

fn compare(example: &example_inputs::Example) {
    let guest = std::fs::read(guest(example.name)).unwrap();
    let metered = screen_for(&guest, Slices::Hook).unwrap();
    let job = job(example);
    let mut bench = Bench::new(1, None).unwrap();
    let tasks = example.inputs.len();
    for (at, input) in
        example.inputs.iter().enumerate().filter(|(at, _)| chosen(example.name, *at, tasks))
    {
        let (index, input) = (u32::try_from(at).unwrap(), input.as_bytes().into());
        let task = TaskSpec { job: job.clone(), index: TaskIndex(index), input };
        let (answer, difference) =
            bench.run(&Subject { guest: &guest, metered: &metered, task: &task }).unwrap();
        assert!(difference.is_none(), "{} {index}: {difference:?}", example.name);
        assert_eq!(answer.unwrap().outcome, Outcome::Exited(0), "{} {index}", example.name);
    }
}

#[test]
fn the_examples_give_the_same_output_for_the_same_fuel_everywhere() {
    let examples = example_inputs::all();
    assert!(examples.len() >= 3);
    with_stack(|| examples.iter().for_each(compare)).unwrap();
}
