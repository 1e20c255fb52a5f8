//! What metering costs: each kernel metered, plain, guarded by the engine's own means, and native.
//!
//! The four ways take turns, round after round, and each figure is the median over the rounds of
//! the ratio within a round: whatever slows the machine down for a while slows all four.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value, json};
use tallymill_sandbox::{Guard, PlainModule, TaskSpec, profile, with_stack};

use crate::guest::{self, Bench, Metered};
use crate::stats::{geometric_mean, median, rounded};
use crate::{clock, println};

/// Required: the geometric mean against the plain engine.
const MOST_VS_PLAIN: f64 = 1.05;
/// Required: the worst kernel against the plain engine.
const MOST_WORST: f64 = 1.20;
/// Required: the geometric mean against the engine's fuel, epochs and canonical NaNs.
const MOST_VS_ENGINE_FUEL: f64 = 0.75;
/// Fewest rounds that make a median worth the name.
const FEWEST_ROUNDS: u32 = 5;

/// Options of the measurement.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder of the built guests.
    #[arg(long)]
    guests: PathBuf,
    /// Rounds; each runs every kernel in every way.
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Only kernels whose name has this in it; nothing is required of the figures then.
    #[arg(long, default_value = "")]
    only: String,
}

/// The ways a kernel runs.
struct Ways {
    metered: Metered,
    plain: PlainModule,
    guarded: PlainModule,
}

/// One kernel and its times, seconds: one of each way for each round.
struct Kernel {
    name: &'static str,
    native: kernels::Kernel,
    size: u32,
    task: TaskSpec,
    rounds: Vec<Times>,
}

#[derive(Clone, Copy, Default)]
struct Times {
    metered: f64,
    plain: f64,
    guarded: f64,
    native: f64,
}

/// Measures, prints the line, and fails when a required figure is missed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.rounds >= FEWEST_ROUNDS, "at least {FEWEST_ROUNDS} rounds are needed");
    let mut kernels = select(&options.only)?;
    let module = guest::kernels(&options.guests)?;
    let ways = Ways {
        metered: Metered::new(&Bench::new()?, &module, profile().costs)?,
        plain: PlainModule::compile(&module, Guard::Nothing)?,
        guarded: PlainModule::compile(&module, Guard::Engine)?,
    };
    with_stack(|| measure(&ways, &mut kernels, options.rounds))??;
    let report = report(&kernels);
    println(&report);
    if options.only.is_empty() { judge(&report) } else { Ok(()) }
}

fn select(only: &str) -> anyhow::Result<Vec<Kernel>> {
    let chosen = example_inputs::KERNELS.iter().filter(|(name, ..)| name.contains(only));
    let kernel = |(name, _, size): &(&'static str, u32, u32)| {
        let native = kernels::find(name).with_context(|| format!("no kernel {name}"))?;
        let task = guest::task(&example_inputs::kernel(name, *size));
        Ok(Kernel { name, native, size: *size, task, rounds: Vec::new() })
    };
    chosen.map(kernel).collect()
}

fn measure(ways: &Ways, kernels: &mut [Kernel], rounds: u32) -> anyhow::Result<()> {
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for kernel in &mut *kernels {
            let times = kernel.once(ways, round).with_context(|| kernel.name)?;
            kernel.rounds.push(times);
        }
    }
    Ok(())
}

impl Kernel {
    /// Runs it in every way, beginning with another one each round, and compares the answers.
    fn once(&self, ways: &Ways, round: u32) -> anyhow::Result<Times> {
        let expected = format!("{:016x}", (self.native)(self.size));
        let mut times = Times::default();
        for turn in 0..4 {
            let output = match (turn + round) % 4 {
                0 => timed(&mut times.metered, || {
                    Ok::<_, anyhow::Error>(ways.metered.run(&self.task)?.output)
                }),
                1 => timed(&mut times.plain, || Ok(ways.plain.run(&self.task)?)),
                2 => timed(&mut times.guarded, || Ok(ways.guarded.run(&self.task)?)),
                _ => timed(&mut times.native, || {
                    Ok(format!("{:016x}", (self.native)(self.size)).into_bytes())
                }),
            };
            ensure!(output? == expected.as_bytes(), "another checksum than natively");
        }
        Ok(times)
    }

    fn ratio(&self, other: impl Fn(&Times) -> f64) -> f64 {
        median(&self.rounds.iter().map(|times| times.metered / other(times)).collect::<Vec<_>>())
    }

    fn ratios(&self) -> [f64; 3] {
        [self.ratio(|t| t.plain), self.ratio(|t| t.guarded), self.ratio(|t| t.native)]
    }
}

fn timed<T>(spent: &mut f64, work: impl FnOnce() -> T) -> T {
    let (result, seconds) = clock::time(work);
    *spent = seconds;
    result
}

fn report(kernels: &[Kernel]) -> Value {
    let ratios: Vec<[f64; 3]> = kernels.iter().map(Kernel::ratios).collect();
    let all = |way: usize| ratios.iter().map(move |ratio| ratio[way]);
    let mut each = Map::new();
    for (kernel, ratio) in kernels.iter().zip(&ratios) {
        let [plain, fuel, native] = ratio.map(rounded);
        let figures = json!({"vs_plain": plain, "vs_engine_fuel": fuel, "vs_native": native});
        each.insert(kernel.name.to_owned(), figures);
    }
    json!({
        "bench": "meter",
        "kernels": each,
        "geomean_vs_plain": rounded(geometric_mean(all(0))),
        "worst_vs_plain": rounded(all(0).fold(0.0, f64::max)),
        "geomean_vs_engine_fuel": rounded(geometric_mean(all(1))),
        "geomean_vs_native": rounded(geometric_mean(all(2))),
    })
}

/// An error that names every required figure that is missed.
fn judge(report: &Value) -> anyhow::Result<()> {
    let required = [
        ("geomean_vs_plain", MOST_VS_PLAIN),
        ("worst_vs_plain", MOST_WORST),
        ("geomean_vs_engine_fuel", MOST_VS_ENGINE_FUEL),
    ];
    let missed: Vec<String> = required
        .into_iter()
        .filter_map(|(name, most)| {
            let found = report[name].as_f64().unwrap_or(f64::INFINITY);
            (found > most).then(|| format!("{name} is {found}, required is at most {most}"))
        })
        .collect();
    if missed.is_empty() { Ok(()) } else { bail!("{}", missed.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(name: &'static str, rounds: &[[f64; 4]]) -> Kernel {
        let times = |[metered, plain, guarded, native]: &[f64; 4]| Times {
            metered: *metered,
            plain: *plain,
            guarded: *guarded,
            native: *native,
        };
        let rounds = rounds.iter().map(times).collect();
        Kernel { name, native: |_| 0, size: 1, task: guest::task(""), rounds }
    }

    #[test]
    fn figures_are_medians_of_ratios_within_a_round() {
        let slow_round = [2.0, 1.9, 4.0, 1.0];
        let one = kernel("one", &[[1.0, 1.0, 2.0, 0.5], slow_round, [1.0, 0.5, 2.0, 0.5]]);
        let other = kernel("other", &[[1.0, 0.5, 2.0, 0.5]]);
        let report = report(&[one, other]);
        let figures = &report["kernels"]["one"];
        assert_eq!(*figures, json!({"vs_plain":1.053,"vs_engine_fuel":0.5,"vs_native":2.0}));
        assert_eq!(report["worst_vs_plain"], 2.0);
        assert_eq!(report["geomean_vs_engine_fuel"], 0.5);
        assert_eq!(report["geomean_vs_plain"], 1.451);
    }

    #[test]
    fn every_missed_figure_is_named() {
        let figures = |plain, worst, fuel| json!({"geomean_vs_plain": plain, "worst_vs_plain": worst, "geomean_vs_engine_fuel": fuel});
        assert!(judge(&figures(1.05, 1.2, 0.75)).is_ok());
        let error = judge(&figures(1.06, 1.2, 0.76)).unwrap_err().to_string();
        assert_eq!(
            error,
            "geomean_vs_plain is 1.06, required is at most 1.05; geomean_vs_engine_fuel is 0.76, required is at most 0.75"
        );
        assert!(judge(&figures(1.0, 1.21, 0.5)).is_err());
        assert!(judge(&json!({})).is_err());
    }

    #[test]
    fn kernels_are_chosen_by_a_part_of_their_name() {
        assert_eq!(select("").unwrap().len(), kernels::KERNELS.len());
        let names: Vec<_> = select("simd").unwrap().iter().map(|kernel| kernel.name).collect();
        assert_eq!(names, ["matmul_simd", "blend_simd"]);
    }
}
