//! Many seeds on several threads, until enough modules were compared or two engines differ.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context as _, anyhow};

use crate::compare::{Bench, Found, Tally, compare};

/// Native stack of a thread that runs guests, bytes.
const STACK: usize = 24 << 20;

/// What to compare.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// Modules to compare.
    pub modules: u64,
    /// The first seed.
    pub seed: u64,
    /// Threads, each with engines of its own.
    pub threads: usize,
    /// A command that runs this program as it was built for another processor.
    pub emulated: Option<String>,
    /// The only family to compare.
    pub family: Option<String>,
    /// Differences after which it ends.
    pub stop_at: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Counts.
    pub tally: Tally,
    /// Names of the engines.
    pub engines: Vec<&'static str>,
    /// Differences, in the order of their seeds.
    pub found: Vec<Found>,
}

impl Campaign {
    /// Compares; `progress` is told the number of modules so far now and then.
    ///
    /// # Errors
    /// When an engine or a generator is broken.
    pub fn run(&self, progress: impl Fn(u64) + Sync) -> anyhow::Result<Report> {
        let shared = Shared {
            next: AtomicU64::new(0),
            done: AtomicU64::new(0),
            found: AtomicU64::new(0),
            report: Mutex::default(),
        };
        thread::scope(|scope| {
            let start = |number| {
                let work = || self.work(&shared, &progress);
                thread::Builder::new()
                    .name(format!("compare {number}"))
                    .stack_size(STACK)
                    .spawn_scoped(scope, work)
            };
            let threads: Vec<_> = (0..self.threads).map(start).collect::<Result<_, _>>()?;
            threads.into_iter().try_for_each(|thread| {
                thread.join().map_err(|_| anyhow!("a comparing thread panicked"))?
            })
        })?;
        shared.report.into_inner().ok().context("a comparing thread panicked")
    }

    /// One thread's share. Which thread takes a seed is chance, but which seeds are compared is not: all up to a point.
    fn work(&self, shared: &Shared, progress: &impl Fn(u64)) -> anyhow::Result<()> {
        let mut bench = Bench::new(self.seed, self.emulated.as_deref())?;
        let mut tally = Tally::default();
        let mut found = Vec::new();
        while shared.is_open(self) {
            let seed = self.seed + shared.next.fetch_add(1, Ordering::Relaxed);
            let before = tally.modules;
            let difference = compare(&mut bench, seed, self.family.as_deref(), &mut tally)?;
            shared.found.fetch_add(u64::from(difference.is_some()), Ordering::Relaxed);
            found.extend(difference);
            let done = shared.done.fetch_add(tally.modules - before, Ordering::Relaxed);
            if done.is_multiple_of(1000) && tally.modules > before {
                progress(done);
            }
        }
        shared.add(&bench, &tally, found)
    }
}

struct Shared {
    next: AtomicU64,
    done: AtomicU64,
    found: AtomicU64,
    report: Mutex<Report>,
}

impl Shared {
    fn is_open(&self, campaign: &Campaign) -> bool {
        self.done.load(Ordering::Relaxed) < campaign.modules
            && self.found.load(Ordering::Relaxed) < campaign.stop_at
    }

    fn add(&self, bench: &Bench, tally: &Tally, found: Vec<Found>) -> anyhow::Result<()> {
        let mut report = self.report.lock().ok().context("a comparing thread panicked")?;
        report.engines = bench.names();
        report.tally.seeds += tally.seeds;
        report.tally.modules += tally.modules;
        for (name, count) in &tally.families {
            *report.tally.families.entry(name).or_default() += count;
        }
        for (name, count) in &tally.outcomes {
            *report.tally.outcomes.entry(name.clone()).or_default() += count;
        }
        report.found.extend(found);
        report.found.sort_by_key(|found| found.seed);
        Ok(())
    }
}
