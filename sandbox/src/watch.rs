//! Looking into a run from outside, and ending it: by a page that the running module looks at and writes to at every slice.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tallymill_meter::abi::{BOUND_AT, PROGRESS_AT, STOP};

/// A run's pulse: the fuel it has used, and a switch that stops it. Serves one run after the other.
#[derive(Debug, Default)]
pub struct Pulse {
    state: Mutex<State>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    /// Fuel at the last slice of a run that is over.
    fuel: u64,
    /// Fuel of the task before the run.
    before: u64,
    /// The page of the run under way.
    page: Option<Page>,
}

impl Pulse {
    /// Fuel used at the last slice.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        let state = self.state();
        state.page.as_ref().map_or(state.fuel, |page| page.progress().saturating_sub(state.before))
    }

    /// Ends the run under way at its next slice or call of the host, or the next run at its first.
    pub fn stop(&self) {
        let state = self.state();
        self.stop.store(true, Ordering::Relaxed);
        if let Some(page) = &state.page {
            page.bound(STOP);
        }
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What calls of the host look at.
    pub(crate) fn switch(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Makes it ready for another run, which is `stopped` before it begins or is not.
    pub fn reset(&self, stopped: bool) {
        let mut state = self.state();
        (state.fuel, state.before) = (0, 0);
        self.stop.store(stopped, Ordering::Relaxed);
    }

    /// Says how much of the task's fuel earlier runs used: whoever looks in is told what this one has.
    pub(crate) fn set_before(&self, fuel: u64) {
        self.state().before = fuel;
    }

    /// Shows a run that may use up to `bound`, until what is answered is dropped.
    pub(crate) fn show(&self, page: Page, bound: i64) -> Shown<'_> {
        let mut state = self.state();
        page.bound(if self.is_stopped() { STOP } else { bound });
        state.page = Some(page);
        Shown(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lives, the page may be looked at.
pub(crate) struct Shown<'p>(&'p Pulse);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if let Some(page) = state.page.take() {
            state.fuel = page.progress().saturating_sub(state.before);
        }
    }
}

/// The memory [`CONTROL`](tallymill_meter::abi::CONTROL) of a running module.
#[derive(Debug)]
pub(crate) struct Page(NonNull<u8>);

#[expect(unsafe_code, reason = "the address is only used for atomic accesses")]
// SAFETY: all accesses through the address are atomic.
unsafe impl Send for Page {}

impl Page {
    /// # Safety
    /// `base` is that of a memory of at least one page, aligned to 8 bytes, which stays where it is and is not accessed
    /// through references for as long as what [`Pulse::show`] answers for this page lives.
    #[expect(unsafe_code, reason = "the caller vouches for the memory")]
    pub(crate) const unsafe fn new(base: NonNull<u8>) -> Self {
        Self(base)
    }

    #[expect(unsafe_code, reason = "guest and host share this memory")]
    fn word(&self, at: u32) -> &AtomicI64 {
        // SAFETY: the memory is there and aligned, as `new` asks for, and both places are within its first page. Code of
        // the module reads and writes whole aligned words, as do the accesses here.
        unsafe { AtomicI64::from_ptr(self.0.add(at as usize).cast().as_ptr()) }
    }

    fn bound(&self, fuel: i64) {
        self.word(BOUND_AT).store(fuel.to_le(), Ordering::Relaxed);
    }

    fn progress(&self) -> u64 {
        u64::try_from(i64::from_le(self.word(PROGRESS_AT).load(Ordering::Relaxed))).unwrap_or(0)
    }
}
