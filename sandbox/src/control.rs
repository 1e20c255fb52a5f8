//! Steering a batch from other threads while it runs.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use tallymill_protocol::TaskIndex;

/// How a running batch is stopped and watched. Share it by reference or `Arc`; use a new one for each batch.
#[derive(Debug)]
pub struct Control {
    state: Mutex<State>,
    wake: OwnedFd,
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
        Ok(Self { state: Mutex::default(), wake })
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
