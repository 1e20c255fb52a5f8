//! One case on every engine, and what differs.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tallymill_meter::Slices;
use tallymill_sandbox::screen_for;

use crate::corpus::{Case, case};
use crate::engines::{Answer, Engine, Process, Subject, Tier, Wasmi, Wasmtime};

/// All engines, each with our host functions. The first is the one that workers use.
pub struct Bench {
    engines: Vec<Box<dyn Engine>>,
}

/// What two engines disagree on.
#[derive(Debug)]
pub struct Difference {
    /// Names of the engines.
    pub engines: [&'static str; 2],
    /// What they said.
    pub answers: Box<[Answer; 2]>,
}

impl Bench {
    /// Starts all engines, and with a command this program as it was built for another processor. The thread that uses
    /// them needs a large stack.
    ///
    /// # Errors
    /// When one of them does not start here.
    pub fn new(seed: u64, emulated: Option<&str>) -> anyhow::Result<Self> {
        let mut engines: Vec<Box<dyn Engine>> = vec![
            Box::new(Wasmtime::new()?),
            Box::new(Process::node(Tier::Usual, None)?),
            Box::new(Process::node(Tier::Optimised, None)?),
            Box::new(Process::node(Tier::Usual, Some(seed))?),
            Box::new(Wasmi::new(None)?),
            Box::new(Wasmi::new(Some(seed))?),
        ];
        if let Some(command) = emulated {
            engines.push(Box::new(Process::emulated(command)?));
        }
        Ok(Self::of(engines))
    }

    /// These engines, which are not none.
    #[must_use]
    pub fn of(engines: Vec<Box<dyn Engine>>) -> Self {
        Self { engines }
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.engines.iter().map(|engine| engine.name()).collect()
    }

    /// Runs a task on every engine: the first one's answer, and where another's differs from it. A void run differs from
    /// everything, another void run included: nothing here gives a reason for one.
    ///
    /// # Errors
    /// When an engine is broken.
    pub fn run(&mut self, subject: &Subject<'_>) -> anyhow::Result<(Answer, Option<Difference>)> {
        for engine in self.engines.iter_mut().rev() {
            engine.begin(subject).with_context(|| engine.name())?;
        }
        let mut answers = Vec::new();
        for engine in &mut self.engines {
            answers.push((engine.name(), engine.finish().with_context(|| engine.name())?));
        }
        let (name, first) = answers.remove(0);
        let other = answers.into_iter().find(|(_, answer)| differ(&first, answer));
        let difference = other.map(|(other, answer)| Difference {
            engines: [name, other],
            answers: Box::new([first.clone(), answer]),
        });
        Ok((first, difference))
    }
}

fn differ(one: &Answer, other: &Answer) -> bool {
    one.is_err() || other.is_err() || one != other
}

/// Counts of a campaign.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Seeds that were tried.
    pub seeds: u64,
    /// Modules compared.
    pub modules: u64,
    /// Modules compared by family.
    pub families: std::collections::BTreeMap<&'static str, u64>,
    /// Modules by how they ended.
    pub outcomes: std::collections::BTreeMap<String, u64>,
}

/// A case that differs.
#[derive(Debug)]
pub struct Found {
    /// Its seed.
    pub seed: u64,
    /// Its family.
    pub family: &'static str,
    /// What differs.
    pub difference: Difference,
    /// The module and its metered form.
    pub modules: [Vec<u8>; 2],
}

/// Compares the case of one seed; with `only`, if it is of that family.
///
/// # Errors
/// When a generator or an engine is broken.
pub fn compare(
    bench: &mut Bench,
    seed: u64,
    only: Option<&str>,
    tally: &mut Tally,
) -> anyhow::Result<Option<Found>> {
    tally.seeds += 1;
    let Some(Case { family, module, task, .. }) =
        case(seed).with_context(|| format!("seed {seed}"))?
    else {
        return Ok(None);
    };
    if only.is_some_and(|only| only != family) {
        return Ok(None);
    }
    let Ok(metered) = screen_for(&module, Slices::Hook) else { return Ok(None) };
    let (answer, difference) = bench
        .run(&Subject { guest: &module, metered: &metered, task: &task })
        .with_context(|| format!("seed {seed} ({family})"))?;
    tally.modules += 1;
    *tally.families.entry(family).or_default() += 1;
    let ended = answer.map_or_else(|void| format!("void: {void}"), |result| ended(&result.outcome));
    *tally.outcomes.entry(ended).or_default() += 1;
    Ok(difference.map(|difference| Found {
        seed,
        family,
        difference,
        modules: [module, metered.bytes],
    }))
}

fn ended(outcome: &tallymill_protocol::Outcome) -> String {
    use tallymill_protocol::Outcome::Exited;
    if matches!(outcome, Exited(code) if *code != 0) {
        "Exited(other)".to_owned()
    } else {
        format!("{outcome:?}")
    }
}

impl Found {
    /// Writes the modules below `folder`; answers where.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> anyhow::Result<[PathBuf; 2]> {
        std::fs::create_dir_all(folder)?;
        let path = |kind: &str| folder.join(format!("{}-{}.{kind}.wasm", self.family, self.seed));
        let paths = [path("guest"), path("metered")];
        for (path, module) in paths.iter().zip(&self.modules) {
            std::fs::write(path, module).with_context(|| path.display().to_string())?;
        }
        Ok(paths)
    }
}
