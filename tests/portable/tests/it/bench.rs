//! The comparison itself: it sees what it is there to see.

use std::sync::Arc;

use tallymill_meter::Slices;
use tallymill_portable::{Answer, Bench, Engine, Subject};
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Limits, Outcome, TaskIndex};
use tallymill_sandbox::{JobSpec, TaskResult, TaskSpec, Void, screen_for};

/// An engine that says what it is told to.
struct Puppet(&'static str, Answer);

impl Engine for Puppet {
    fn name(&self) -> &'static str {
        self.0
    }

    fn begin(&mut self, _: &Subject<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<Answer> {
        Ok(self.1.clone())
    }
}

fn result() -> TaskResult {
    TaskResult {
        outcome: Outcome::Exited(0),
        output: b"output".to_vec(),
        log: b"log".to_vec(),
        fuel: 7,
        peak_memory: 65_536,
        memory_fuel: 7,
        bytes_in: 0,
        bytes_out: 6,
        cpu_time_us: 0,
    }
}

/// Whether a difference is seen between these two answers and a third that is like the first.
fn seen(one: Answer, other: Answer) -> bool {
    let puppets = [("a", one.clone()), ("b", one), ("c", other)];
    let engines = puppets.map(|(name, answer)| Box::new(Puppet(name, answer)) as Box<dyn Engine>);
    differ(engines.into())
}

fn differ(engines: Vec<Box<dyn Engine>>) -> bool {
    let guest = wat::parse_str("(module (func (export \"_start\")))").unwrap();
    let metered = screen_for(&guest, Slices::Hook).unwrap();
    let job = Arc::new(JobSpec::new(Limits::default()));
    let task = TaskSpec { job, index: TaskIndex(0), input: Arc::from([]) };
    let (_, difference) =
        Bench::of(engines).run(&Subject { guest: &guest, metered: &metered, task: &task }).unwrap();
    difference.inspect(|difference| assert_eq!(difference.engines, ["a", "c"])).is_some()
}

#[test]
fn equal_answers_do_not_differ() {
    assert!(!seen(Ok(result()), Ok(result())));
}

#[test]
fn every_figure_of_a_receipt_is_compared() {
    let changes: [fn(&mut TaskResult); 6] = [
        |result| result.outcome = Outcome::Exited(1),
        |result| result.output[0] ^= 1,
        |result| result.log[0] ^= 1,
        |result| result.fuel += 1,
        |result| result.peak_memory += 65_536,
        |result| result.memory_fuel += 1,
    ];
    for change in changes {
        let mut other = result();
        change(&mut other);
        assert!(seen(Ok(result()), Ok(other)));
    }
}

#[test]
fn a_void_run_differs_from_everything() {
    let void = || Err(Void::new(VoidCause::NativeOverflow, "deep"));
    assert!(seen(Ok(result()), void()));
    let engines: Vec<Box<dyn Engine>> =
        vec![Box::new(Puppet("a", void())), Box::new(Puppet("c", void()))];
    assert!(differ(engines));
}
