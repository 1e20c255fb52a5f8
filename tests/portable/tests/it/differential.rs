//! The count inside the module against the engine's own, on whole programs: under the table of unit weights, which are the
//! engine's, both are the same number.

use tallymill_meter::{CostTable, Profile, meter};
use tallymill_protocol::{Outcome, TaskIndex};
use tallymill_sandbox::{
    Engine, Guard, PlainModule, Pulse, TaskSpec, profile, run_task, with_stack,
};

use crate::examples::{chosen, guest, job};

fn compare(example: &example_inputs::Example) {
    let bytes = std::fs::read(guest(example.name)).unwrap();
    let profile = Profile { costs: CostTable::v1(), ..profile() };
    let metered = meter(&bytes, &profile).unwrap();
    let module = Engine::new(1).unwrap().compile_here(&metered.bytes, metered.info).unwrap();
    let plain = PlainModule::compile(&bytes, Guard::Engine).unwrap();
    let (job, tasks) = (job(example), example.inputs.len());
    for (at, input) in
        example.inputs.iter().enumerate().filter(|(at, _)| chosen(example.name, *at, tasks))
    {
        let index = TaskIndex(u32::try_from(at).unwrap());
        let task = TaskSpec { job: job.clone(), index, input: input.as_bytes().into() };
        let ours = run_task(&module, &task, &Pulse::default()).unwrap();
        let (output, fuel) = plain.run_counted(&task).unwrap();
        let place = format!("{} {at}", example.name);
        assert_eq!(ours.outcome, Outcome::Exited(0), "{place}");
        assert!(fuel > 0 && output == ours.output, "{place}");
        assert_eq!(ours.fuel, fuel, "{place}");
    }
}

#[test]
fn every_example_uses_the_fuel_that_the_engine_counts() {
    let examples = example_inputs::all();
    with_stack(|| examples.iter().for_each(compare)).unwrap();
}
