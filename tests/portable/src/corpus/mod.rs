//! The corpus: modules and tasks made from seeds, each meant to find one kind of difference between engines.
//!
//! Half of it is drawn by wasm-smith and made to do something; the other half comes from generators for what random
//! modules seldom reach.

mod calls;
mod families;
mod operators;
mod smith;
mod text;
mod traps;

use std::sync::Arc;

use tallymill_protocol::{Limits, TaskIndex};
use tallymill_sandbox::{InputFile, JobSpec, TaskSpec};

use crate::draw::Draw;

/// A module and what it is run with.
pub struct Case {
    /// What kind of module it is.
    pub family: &'static str,
    /// The seed it was made from.
    pub seed: u64,
    /// The module as a guest's author would give it.
    pub module: Vec<u8>,
    /// The task.
    pub task: TaskSpec,
}

/// Makes a module's text.
type Generator = fn(&mut Draw) -> String;

/// Generators by name, beside wasm-smith.
const FAMILIES: [(&str, Generator); 12] = [
    ("floats", families::floats),
    ("lanes", families::lanes),
    ("traps", traps::in_loops),
    ("instantiation", traps::at_instantiation),
    ("growth", families::growth),
    ("copies", families::copies),
    ("tables", families::tables),
    ("recursion", families::recursion),
    ("indirect", families::indirect),
    ("slices", families::slices),
    ("calls", calls::random),
    ("hosttables", calls::through_tables),
];

/// Names of all families.
pub fn families() -> impl Iterator<Item = &'static str> {
    std::iter::once("smith").chain(FAMILIES.iter().map(|(name, _)| *name))
}

/// The case of a seed; `None` when what is drawn does not make a module.
///
/// # Errors
/// When a generator wrote text that is no module.
pub fn case(seed: u64) -> anyhow::Result<Option<Case>> {
    let mut draw = Draw::new(seed);
    let (family, module) = if draw.chance(1, 2) {
        ("smith", smith::module(&mut draw))
    } else {
        let mut family = draw.pick(&FAMILIES);
        // Long runs are dear: most of them make room for others.
        if family.0 == "slices" && draw.chance(2, 3) {
            family = draw.pick(&FAMILIES);
        }
        let (name, generate) = family;
        (name, Some(wat::parse_str(generate(&mut draw))?))
    };
    Ok(module.map(|module| Case { family, seed, module, task: task(&mut draw, family) }))
}

fn task(draw: &mut Draw, family: &str) -> TaskSpec {
    let mut job = JobSpec::new(limits(draw, family));
    draw.bytes(32).into_iter().zip(&mut job.seed).for_each(|(byte, place)| *place = byte);
    job.argv = (0..draw.below(3)).map(|n| format!("argument{n}ü")).collect();
    job.environment = (0..draw.below(2)).map(|n| (format!("NAME{n}"), "value".into())).collect();
    for name in ["a", "data.bin"].into_iter().take(usize::from(draw.chance(1, 2)) * 2) {
        let length = draw.magnitude(5000);
        job.files.push(InputFile { name: name.into(), bytes: draw.bytes(length).into() });
    }
    let length = draw.magnitude(5000) - 1;
    let input: Arc<[u8]> = draw.bytes(length).into();
    TaskSpec { job: Arc::new(job), index: TaskIndex(draw.bits().to_le_bytes()[0].into()), input }
}

/// Limits of which one is sometimes so tight that it is met.
fn limits(draw: &mut Draw, family: &str) -> Limits {
    let most = match family {
        "slices" => 12_000_000,
        "recursion" | "copies" | "calls" | "hosttables" => 4_000_000,
        "smith" => 600_000,
        _ => 2_000_000,
    };
    Limits {
        fuel: if draw.chance(1, 4) { draw.magnitude(most) } else { most },
        memory: draw.between(3, 30) << 16,
        output: if draw.chance(1, 10) { draw.magnitude(200) } else { 1 << 20 },
        log: draw.magnitude(2000),
        stack: if draw.chance(1, 8) { draw.magnitude(600_000) } else { 1 << 20 },
        table: draw.between(20, 320),
        scratch: draw.magnitude(100_000),
    }
}
