//! The chore that takes away what nobody needs any more, a little at a time.
//!
//! A pass notes what jobs of before need, takes away results whose time has come, empties reports of which no receipt is kept,
//! and last removes blobs that no job needs. Its place in a pass is in memory only: what is left in the database says what is
//! to do, so the process may end anywhere. Between two steps it rests nine times as long as the step took, so that it uses a
//! tenth of the writer at most, and while the engine has more to do than it can decide at once it waits.

use std::collections::VecDeque;
use std::error::Error as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tallymill_engine::Retention;
use tallymill_protocol::{Digest, JobId, Micros, TaskIndex};
use tallymill_storage::{CollectError, Done, Order, Page, ReadError, Store};
use tokio::sync::watch;

use crate::blobs::{BlobError, BlobStore};
use crate::claims::{Claims, Seized};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::{clock, turn};

/// Jobs and reports that are looked at together.
const LOOKED: u32 = 200;
/// Blobs that are looked at together, and go together.
const BLOBS: u32 = 64;
/// Fewest and most rows of one step, and with how many it begins.
const PORTION: (u32, u32, u32) = (16, 4_096, 256);
/// A step that takes less is made larger, one that takes more smaller.
const STEP: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(40));
/// How much longer than a step the rest after it is.
const REST: u32 = 9;
/// Commands that may wait for the engine while a step is done, and the pause when more do.
const BUSY: usize = 64;
const LET_PASS: Duration = Duration::from_millis(100);
/// Shortest and longest time between two passes.
const BETWEEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Why a step was not done. The next pass tries again.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// What may go cannot be read.
    #[error("failed to read what may be collected")]
    Read(#[from] ReadError),
    /// The database does not take it away.
    #[error("failed to collect")]
    Collect(#[from] CollectError),
    /// The blobs cannot be removed.
    #[error("failed to remove blobs")]
    Blobs(#[from] BlobError),
    /// The turn to remove them cannot be had.
    #[error("failed to lock the blobs")]
    Turn(#[from] std::io::Error),
}

/// What a step took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Rows.
    pub rows: u64,
    /// Jobs of whose results nothing is left.
    pub jobs: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of those.
    pub bytes: u64,
}

/// Where a pass is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Blobs that were given up and are still there.
    Unburied,
    /// What jobs of before need, up to this task.
    Notes(Option<(JobId, TaskIndex)>),
    /// Results of these jobs, then of those that ended after this one; `None` before those that were begun are listed.
    Jobs(VecDeque<JobId>, Option<Option<(Micros, u64)>>),
    /// Reports after this one.
    Reports(Option<u64>),
    /// Blobs after this one.
    Blobs(Option<Digest>),
}

/// Rows of one step: as many as the writer may be kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Portion(u32);

impl Portion {
    fn after(self, took: Duration) -> Self {
        let (least, most, _) = PORTION;
        let next = if took < STEP.0 {
            self.0.saturating_mul(2)
        } else if took > STEP.1 {
            self.0 / 2
        } else {
            self.0
        };
        Self(next.clamp(least, most))
    }
}

/// The chore of one coordinator.
pub struct Collector {
    store: Arc<dyn Store>,
    blobs: Arc<BlobStore>,
    claims: Claims,
    rule: Retention,
    /// Whether other coordinators may serve with the same blobs. One that was stopped cannot be kept from going on with a removal,
    /// of what was uploaded again meanwhile.
    keeps_blobs: bool,
    data: PathBuf,
    stage: Stage,
    portion: Portion,
    unburied: Vec<Seized>,
}

impl Collector {
    /// The chore over this database and these blobs, of a coordinator that keeps its files in `data`. Before anybody can rely
    /// on them, it seizes blobs that a process which ended had given up and not removed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open(
        store: Arc<dyn Store>,
        blobs: Arc<BlobStore>,
        claims: Claims,
        (rule, data): (Retention, PathBuf),
        keeps_blobs: bool,
    ) -> Result<Self, ReadError> {
        // Never more than go together: no others are given up before these are gone.
        let doomed = store.doomed(Page::first(BLOBS)).await?;
        let unburied = doomed.into_iter().filter_map(|digest| claims.seize(digest)).collect();
        let (stage, portion) = (Stage::Unburied, Portion(PORTION.2));
        Ok(Self { store, blobs, claims, rule, keeps_blobs, data, stage, portion, unburied })
    }

    /// Collects until the process is about to stop.
    pub(crate) async fn run(
        mut self,
        pipeline: Pipeline,
        metrics: Arc<Metrics>,
        mut stopping: watch::Receiver<bool>,
    ) {
        tokio::select! {
            () = self.passes(&pipeline, &metrics) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn passes(&mut self, pipeline: &Pipeline, metrics: &Metrics) {
        loop {
            tokio::time::sleep(between(&self.rule)).await;
            loop {
                while !pipeline.ready() || pipeline.depth() > BUSY {
                    tokio::time::sleep(LET_PASS).await;
                }
                let began = Instant::now();
                match self.step(clock::now()).await {
                    Ok(Some(progress)) => metrics.collected(&progress),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(error = %error, cause = ?error.source(), "collect.failed");
                        break;
                    }
                }
                tokio::time::sleep(began.elapsed() * REST).await;
            }
        }
    }

    /// One step of a pass; `None` at its end, after which the next one begins. After an error it begins anew as well.
    ///
    /// # Errors
    /// When database or blobs cannot be used.
    pub async fn step(&mut self, now: Micros) -> Result<Option<Progress>, CollectorError> {
        let began = Instant::now();
        let done = match std::mem::replace(&mut self.stage, Stage::Unburied) {
            Stage::Unburied => self.leftovers().await,
            Stage::Notes(after) => self.notes(after).await,
            Stage::Jobs(waiting, after) => self.jobs(waiting, after, now).await,
            Stage::Reports(after) => self.reports(after, now).await,
            Stage::Blobs(after) => self.idle(after, now).await,
        }?;
        self.portion = self.portion.after(began.elapsed());
        Ok(done)
    }

    async fn leftovers(&mut self) -> Result<Option<Progress>, CollectorError> {
        if !self.unburied.is_empty() {
            let Some(_turn) = turn::to_remove(&self.data)? else { return Ok(None) };
            self.bury().await?;
        }
        self.stage = Stage::Notes(None);
        Ok(Some(Progress::default()))
    }

    async fn notes(
        &mut self,
        after: Option<(JobId, TaskIndex)>,
    ) -> Result<Option<Progress>, CollectorError> {
        let rows = Some(Progress::default());
        self.stage = match self.store.collect(&Order::Note { after }, self.portion.0).await {
            Ok(Done::Noted(job, task)) => Stage::Notes(Some((job, task))),
            Ok(Done::Rows(_)) => Stage::Notes(None),
            Ok(_) => Stage::Jobs(VecDeque::new(), None),
            // Until somebody has looked at it no blob goes; results still do.
            Err(CollectError::Corrupt(row)) => {
                tracing::error!(row = %row, "collect.unreadable");
                Stage::Jobs(VecDeque::new(), None)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(rows)
    }

    async fn jobs(
        &mut self,
        mut waiting: VecDeque<JobId>,
        after: Option<Option<(Micros, u64)>>,
        now: Micros,
    ) -> Result<Option<Progress>, CollectorError> {
        let Some(job) = waiting.front().copied() else {
            self.stage = self.more_jobs(after, now).await?;
            return Ok(Some(Progress::default()));
        };
        let order = Order::Job { job, rule: self.rule, now };
        let (goes_on, progress) = match self.store.collect(&order, self.portion.0).await {
            Ok(Done::Rows(rows)) => (true, Progress { rows, ..Progress::default() }),
            Ok(Done::Nothing) => (false, Progress { jobs: 1, ..Progress::default() }),
            Ok(_) => (false, Progress::default()),
            // Its results stay until somebody has looked at it; those of others go.
            Err(CollectError::Corrupt(row)) => {
                tracing::error!(job.id = %job, row = %row, "collect.unreadable");
                (false, Progress::default())
            }
            Err(error) => return Err(error.into()),
        };
        if !goes_on {
            waiting.pop_front();
        }
        self.stage = Stage::Jobs(waiting, after);
        Ok(Some(progress))
    }

    async fn more_jobs(
        &self,
        after: Option<Option<(Micros, u64)>>,
        now: Micros,
    ) -> Result<Stage, ReadError> {
        let Some(after) = after else {
            let begun = self.store.collecting(Page::first(LOOKED)).await?;
            return Ok(Stage::Jobs(begun.into_iter().map(|job| job.id).collect(), Some(None)));
        };
        let Some(before) = self.rule.ended_before(now) else { return Ok(Stage::Reports(None)) };
        let ended = self.store.ended(before, Page { after, limit: LOOKED }).await?;
        let Some(last) = ended.last() else { return Ok(Stage::Reports(None)) };
        let last = (last.finished.unwrap_or_default(), last.number);
        Ok(Stage::Jobs(ended.iter().map(|job| job.id).collect(), Some(Some(last))))
    }

    async fn reports(
        &mut self,
        after: Option<u64>,
        now: Micros,
    ) -> Result<Option<Progress>, CollectorError> {
        let mut progress = Progress::default();
        self.stage = Stage::Blobs(None);
        let Some(before) = self.rule.ended_before(now) else { return Ok(Some(progress)) };
        let looked = self.store.lone_reports(before, Page { after, limit: LOOKED }).await?;
        let Some(last) = looked.last() else { return Ok(Some(progress)) };
        let lone: Vec<u64> = looked.iter().filter(|row| row.goes).map(|row| row.key).collect();
        if !lone.is_empty()
            && let Done::Rows(rows) = self.store.collect(&Order::Reports(lone), LOOKED).await?
        {
            progress.rows = rows;
        }
        self.stage = Stage::Reports(Some(last.key));
        Ok(Some(progress))
    }

    async fn idle(
        &mut self,
        after: Option<Digest>,
        now: Micros,
    ) -> Result<Option<Progress>, CollectorError> {
        if self.keeps_blobs {
            return Ok(None);
        }
        // While somebody makes a backup all blobs stay; the next pass comes.
        let Some(_turn) = turn::to_remove(&self.data)? else { return Ok(None) };
        let before = self.rule.uploaded_before(now);
        let looked = self.store.idle_blobs(before, Page { after, limit: BLOBS }).await?;
        let Some(last) = looked.last() else { return Ok(None) };
        let idle = looked.iter().filter(|row| row.goes).map(|row| row.key).collect();
        let progress = self.doom(idle, before).await?;
        self.bury().await?;
        self.stage = Stage::Blobs(Some(last.key));
        Ok(Some(progress))
    }

    /// Gives up blobs that no job needs and on which nobody relies at this moment.
    async fn doom(
        &mut self,
        idle: Vec<Digest>,
        before: Micros,
    ) -> Result<Progress, CollectorError> {
        let seized: Vec<_> = idle.into_iter().filter_map(|it| self.claims.seize(it)).collect();
        if seized.is_empty() {
            return Ok(Progress::default());
        }
        let digests = seized.iter().map(|seized| seized.digest).collect();
        // What comes of it may never be known: then nobody gets at them before it is.
        self.unburied.extend(seized);
        let done = self.store.collect(&Order::Doom { digests, before }, BLOBS).await?;
        let Done::Doomed(rows) = done else { return Ok(Progress::default()) };
        let bytes = rows.iter().map(|row| row.length).sum();
        Ok(Progress { blobs: rows.len() as u64, bytes, ..Progress::default() })
    }

    /// Removes the bytes of what was given up, and lets others have the names.
    async fn bury(&mut self) -> Result<(), CollectorError> {
        let mut gone = Vec::new();
        for Seized { digest, .. } in &self.unburied {
            if self.store.blob(*digest).await?.is_none() {
                gone.push(*digest);
            }
        }
        if !gone.is_empty() {
            self.blobs.remove(&gone).await?;
            self.store.collect(&Order::Bury(gone), BLOBS).await?;
        }
        self.unburied.clear();
        Ok(())
    }
}

/// The time between two passes: a tenth of what is kept shortest, so that nothing is kept much longer.
fn between(rule: &Retention) -> Duration {
    let shortest = rule.results.unwrap_or(u64::MAX).min(rule.uploads);
    Duration::from_micros(shortest / 10).clamp(BETWEEN.0, BETWEEN.1)
}

#[cfg(test)]
mod tests;
