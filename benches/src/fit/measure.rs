//! Guests made ready and measured: the kernels of the examples and the micro-kernels.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tallymill_meter::CostTable;
use tallymill_sandbox::TaskSpec;

use super::count::{Counter, parts};
use super::guests;
use super::micro::Micro;
use super::solve::{Role, Sample};
use crate::clock;
use crate::guest::{self, Bench, Metered};

/// Seconds that a run of a micro-kernel should take.
const RUN: f64 = 0.01;
/// Turns of a micro-kernel's loop in the runs that are counted.
const COUNTED: [i32; 2] = [8, 16];
/// Turns that say how many fill [`RUN`].
const TRIAL: i32 = 256;

/// A guest that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    /// What it is called.
    pub(super) name: String,
    /// What it stands for.
    pub(super) role: Role,
    /// Why its price is not held against it, if so.
    pub(super) excused: Option<String>,
    /// The host function it calls, for a micro-kernel that does nothing else.
    pub(super) host: Option<String>,
    /// For a micro-kernel: how often its body runs.
    pub(super) turns: f64,
    /// CPU time of the quickest run, seconds: what disturbs a run only ever adds to it.
    pub(super) seconds: f64,
    /// Fuel of a run by the table in use.
    pub(super) fuel: f64,
    /// How often it does each of the parts.
    pub(super) counts: Vec<f64>,
}

impl Measured {
    fn new(name: &str, role: Role, counts: Vec<f64>) -> Self {
        let (name, seconds) = (name.to_owned(), f64::INFINITY);
        Self { name, role, excused: None, host: None, turns: 1.0, seconds, fuel: 0.0, counts }
    }

    /// As the search sees it.
    pub(super) fn sample(&self) -> Sample {
        Sample { role: self.role, seconds: self.seconds, counts: self.counts.clone() }
    }

    /// What it pays for a second, against `typical`, by the table in use.
    pub(super) fn rate(&self, typical: f64) -> f64 {
        self.fuel / self.seconds / typical
    }
}

/// A guest ready to be run.
pub(super) struct Guest {
    measured: Measured,
    metered: Arc<Metered>,
    task: TaskSpec,
}

/// What guests are made with.
pub(super) struct Maker<'a> {
    pub(super) bench: &'a Bench,
    /// The table they are metered by while time is taken.
    pub(super) costs: &'static CostTable,
    /// Counts what they do, when a fit needs it.
    pub(super) counter: Option<&'a Counter>,
}

impl Maker<'_> {
    /// The kernels, at the sizes for measuring.
    pub(super) fn kernels(&self, guests: &Path) -> anyhow::Result<Vec<Guest>> {
        let module = guest::kernels(guests)?;
        let metered = Arc::new(Metered::new(self.bench, &module, self.costs)?);
        let inputs = example_inputs::KERNELS
            .map(|(name, _, size)| (name, guest::task(&example_inputs::kernel(name, size))));
        let tasks: Vec<&TaskSpec> = inputs.iter().map(|(_, task)| task).collect();
        let counts = self.count(&module, &tasks)?;
        let guest = |((name, task), counts): ((&str, TaskSpec), Vec<u64>)| {
            let counts = counts.into_iter().map(float).collect();
            Guest {
                measured: Measured::new(name, Role::Kernel, counts),
                metered: metered.clone(),
                task,
            }
        };
        Ok(inputs.clone().into_iter().zip(counts).map(guest).collect())
    }

    /// The micro-kernels, with as many turns as make a run long enough.
    pub(super) fn micros(&self) -> anyhow::Result<Vec<Guest>> {
        guests::all().iter().map(|micro| self.micro(micro)).collect()
    }

    fn micro(&self, micro: &Micro) -> anyhow::Result<Guest> {
        let task = guest::task("");
        let ready = |turns| Metered::new(self.bench, &micro.module(turns), self.costs);
        let turns = match micro.turns {
            Some(turns) => turns,
            None => enough(&ready(TRIAL)?, &task).with_context(|| micro.name.clone())?,
        };
        let few = COUNTED.map(|turns| self.count(&micro.module(turns), &[&task]));
        let [few, more] = few.map(|counts| counts.map(|all| all.concat()));
        let counts = extrapolated(&few?, &more?, turns);
        let metered = Arc::new(ready(turns)?);
        let role = if micro.waits { Role::Waiting } else { Role::Busy };
        let measured = Measured {
            excused: micro.excused.map(str::to_owned),
            host: micro.host.as_ref().map(|(name, _)| (*name).to_owned()),
            turns: f64::from(turns) * f64::from(micro.copies),
            ..Measured::new(&micro.name, role, counts)
        };
        Ok(Guest { measured, metered, task })
    }

    fn count(&self, module: &[u8], tasks: &[&TaskSpec]) -> anyhow::Result<Vec<Vec<u64>>> {
        match self.counter {
            Some(counter) => counter.count(self.bench, module, tasks),
            None => Ok(vec![vec![0; parts().len()]; tasks.len()]),
        }
    }
}

/// Counts of a loop with `turns` turns, from two with few.
fn extrapolated(few: &[u64], more: &[u64], turns: i32) -> Vec<f64> {
    let [low, high] = COUNTED.map(f64::from);
    let line = |(few, more): (&u64, &u64)| {
        let (few, more) = (float(*few), float(*more));
        few + (more - few) / (high - low) * (f64::from(turns) - low)
    };
    few.iter().zip(more).map(line).collect()
}

/// A count as a float; counts here are far below 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

fn enough(metered: &Metered, task: &TaskSpec) -> anyhow::Result<i32> {
    metered.run(task)?;
    let (result, seconds) = clock::time(|| metered.run(task));
    result?;
    let turns = (f64::from(TRIAL) * RUN / seconds).clamp(f64::from(TRIAL), 1e8);
    #[expect(clippy::cast_possible_truncation, reason = "it was just cut to what fits")]
    let turns = turns as i32;
    Ok(turns)
}

/// Runs every guest `rounds` times, all of them once before any of them again.
pub(super) fn measure(mut guests: Vec<Guest>, rounds: u32) -> anyhow::Result<Vec<Measured>> {
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for Guest { measured, metered, task } in &mut guests {
            let (result, seconds) = clock::time(|| metered.run(task));
            measured.fuel = float(result.with_context(|| measured.name.clone())?.fuel);
            measured.seconds = measured.seconds.min(seconds);
        }
    }
    Ok(guests.into_iter().map(|guest| guest.measured).collect())
}

/// Largest over smallest.
pub(super) fn spread(rates: impl Iterator<Item = f64>) -> f64 {
    let (least, most) = rates
        .fold((f64::INFINITY, 0.0_f64), |(least, most), rate| (least.min(rate), most.max(rate)));
    most / least
}

/// The guest that pays least for a second, of those with this role whose price is held against them.
pub(super) fn worst(
    guests: &[Measured],
    role: Role,
    rate: impl Fn(&Measured) -> f64,
) -> Option<(&Measured, f64)> {
    let held = guests.iter().filter(|guest| guest.role == role && guest.excused.is_none());
    held.map(|guest| (guest, rate(guest))).min_by(|(_, one), (_, other)| one.total_cmp(other))
}
