//! The count inside the module against the engine's own, on whole programs: under the table of unit weights, which are the
//! engine's, both are the same number. The one difference is intended: each step of a long task costs [`STEP_FUEL`] more.

use example_inputs::Example;
use tallymill_meter::{CostTable, Profile, meter};
use tallymill_protocol::{Digest, Outcome, STEP_FUEL, Steps, TaskIndex};
use tallymill_sandbox::{
    CompiledModule, Engine, Guard, PlainModule, Pulse, SegmentSpec, TaskSpec, profile, run_segment,
    run_task, with_stack,
};

use crate::examples::{guest, job};

/// An example on both sides: metered under unit weights, and as it is where the engine counts.
struct Sides {
    metered: CompiledModule,
    plain: PlainModule,
}

impl Sides {
    fn of(example: &Example) -> Self {
        let bytes = std::fs::read(guest(example.name)).unwrap();
        let profile = Profile { costs: CostTable::v1(), ..profile() };
        let metered = meter(&bytes, &profile).unwrap();
        let metered = Engine::new(1).unwrap().compile_here(&metered.bytes, metered.info).unwrap();
        Self { metered, plain: PlainModule::compile(&bytes, Guard::Engine).unwrap() }
    }
}

/// Everything of an example that is compared. Of most it is every task: each exponent of `mersenne` from 2 to 2300, each range
/// of drifts of `seti`, each kernel, each number of `lehmer`. Of `align`, whose tasks take a third of a second each, it is the
/// first window, one in the middle, and the last, which is shorter.
fn tasks(example: &Example) -> impl Iterator<Item = (String, TaskSpec)> {
    let (job, last) = (job(example), example.inputs.len() - 1);
    let chosen = move |at: usize| example.name != "align" || [0, last / 2, last].contains(&at);
    let inputs = example.inputs.iter().enumerate().filter(move |(at, _)| chosen(*at));
    inputs.map(move |(at, input)| {
        let index = TaskIndex(u32::try_from(at).unwrap());
        let task = TaskSpec { job: job.clone(), index, input: input.as_bytes().into() };
        (format!("{} {at}", example.name), task)
    })
}

/// Compares what is chosen of an example, and gives how many tasks that was.
fn compare(example: &Example) -> usize {
    let sides = Sides::of(example);
    let compare = |(place, task): (String, TaskSpec)| {
        let ours = run_task(&sides.metered, &task, &Pulse::default()).unwrap();
        let (output, fuel) = sides.plain.run_counted(&task).unwrap();
        assert_eq!(ours.outcome, Outcome::Exited(0), "{place}");
        assert!(fuel > 0 && output == ours.output, "{place}");
        assert_eq!(ours.fuel, fuel, "{place}");
    };
    tasks(example).map(compare).count()
}

/// The same of a long task, in steps and in one segment.
fn compare_in_steps(example: &Example) -> usize {
    let sides = Sides::of(example);
    let steps = Steps { budget: 100_000_000, segment: 1 << 62 };
    let compare = |(place, task): (String, TaskSpec)| {
        let (output, fuel, count) = sides.plain.run_steps_counted(&task, steps.budget).unwrap();
        let spec = SegmentSpec { task, steps, from: None, pause_after: None };
        let ours = run_segment(&sides.metered, Digest::ZERO, &spec, &Pulse::default()).unwrap();
        assert_eq!(ours.result.outcome, Outcome::Exited(0), "{place}");
        assert!(fuel > 0 && output == ours.result.output, "{place}");
        assert_eq!(ours.steps, count, "{place}");
        assert_eq!(ours.result.fuel, fuel + count * STEP_FUEL, "{place}");
    };
    tasks(example).map(compare).count()
}

#[test]
fn every_example_uses_the_fuel_that_the_engine_counts() {
    let compared = |example: &Example| (example.name, compare(example));
    let counts = with_stack(|| example_inputs::all().iter().map(compared).collect::<Vec<_>>());
    let kernels = example_inputs::KERNELS.len();
    let all = [("mersenne", 2_299), ("align", 3), ("seti", 16), ("kernels", kernels)];
    assert_eq!(counts.unwrap(), all, "every example, and as much of each as is said");
}

#[test]
fn every_long_example_uses_the_fuel_that_the_engine_counts() {
    let compared = |example: &Example| (example.name, compare_in_steps(example));
    let counts = with_stack(|| example_inputs::long().iter().map(compared).collect::<Vec<_>>());
    assert_eq!(counts.unwrap(), [("lehmer", 3)]);
}
