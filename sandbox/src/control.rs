//! Steering a batch from other threads while it runs.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use tallymill_protocol::TaskIndex;

/// How a running batch is stopped and watched. Share it by reference or `Arc`; use a new one for each batch.
#[derive(Debug)]
pub struct Control {
    state: Mutex<State>,
    wake: OwnedFd,
    patience: Option<Patience>,
    impatient: AtomicBool,
}

/// How much processor time a batch may use that its fuel does not pay for. Beyond it its child is killed, and the task that ran is
/// void: the owner's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Processor time that nothing needs to pay for, µs.
    pub beyond_us: u64,
    /// Fuel that pays for a microsecond; 0: anything does.
    pub fuel_per_us: u64,
}

impl Patience {
    /// Whether so many microseconds are too many for so much fuel.
    pub(crate) fn is_exceeded(self, used_us: u64, fuel: u64) -> bool {
        let paid = fuel.checked_div(self.fuel_per_us);
        paid.is_some_and(|paid| used_us.saturating_sub(paid) > self.beyond_us)
    }

    /// What its job's owner reads.
    pub(crate) fn words(self, used_us: u64, fuel: u64) -> String {
        let seconds = |us: u64| {
            let tenths = us / 100_000;
            format!("{}.{} s", tenths / 10, tenths % 10)
        };
        let paid = fuel.checked_div(self.fuel_per_us).unwrap_or(used_us);
        format!(
            "it used {} of processor time and paid for {}, at the least that this machine's owner takes; a higher tariff pays for more",
            seconds(used_us),
            seconds(paid)
        )
    }
}

#[derive(Debug, Default)]
struct State {
    wishes: Wishes,
    progress: Option<Progress>,
}

/// What others want of a batch since they were last asked.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// Stop these tasks.
    pub(crate) stop: Vec<TaskIndex>,
    /// Stop all tasks.
    pub(crate) stop_all: bool,
    /// Give the batch up at once.
    pub(crate) withdraw: bool,
}

/// How far the task that runs has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The task.
    pub index: TaskIndex,
    /// Fuel it had used when it was last heard of, which is at most some 100 ms ago.
    pub fuel: u64,
}

impl Control {
    /// A control for one batch.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let impatient = AtomicBool::new(false);
        Ok(Self { state: Mutex::default(), wake, patience: None, impatient })
    }

    /// The same, for a batch that has to pay for its processor time.
    #[must_use]
    pub const fn with_patience(mut self, patience: Option<Patience>) -> Self {
        self.patience = patience;
        self
    }

    /// Whether the batch was ended because it paid too little.
    #[must_use]
    pub fn is_out_of_patience(&self) -> bool {
        self.impatient.load(Ordering::Relaxed)
    }

    pub(crate) fn lose_patience(&self) {
        self.impatient.store(true, Ordering::Relaxed);
    }

    pub(crate) const fn patience(&self) -> Option<Patience> {
        self.patience
    }

    /// Stops one task at its next slice; it ends as [`Stopped`](tallymill_protocol::Outcome::Stopped), its fuel so far is counted.
    pub fn stop(&self, task: TaskIndex) {
        self.wish(|wishes| wishes.stop.push(task));
    }

    /// Stops every task of the batch at its next slice.
    pub fn stop_all(&self) {
        self.wish(|wishes| wishes.stop_all = true);
    }

    /// Kills the child at once: tasks without a result are void, because the owner wants the machine back.
    pub fn withdraw(&self) {
        self.wish(|wishes| wishes.withdraw = true);
    }

    /// How far the task that runs has come; `None` before its first word.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.state().progress
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.state().wishes);
        // It only fails when the counter is full, and then the batch wakes anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    pub(crate) fn set_progress(&self, progress: Option<Progress>) {
        self.state().progress = progress;
    }

    /// What was wished since the last call; also makes [`Control::wake`] unreadable until the next wish.
    pub(crate) fn take_wishes(&self) -> Wishes {
        let mut state = self.state();
        // Nothing to read means that nothing was wished.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut state.wishes)
    }

    /// Readable when there is a wish.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
