//! The memory of children, looked at while they live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::cpu;

/// Between two looks. The kernel keeps the largest figure of a process, so that only its last moments can be missed.
const LOOK: Duration = Duration::from_millis(4);

/// The most physical memory that a child of a worker or of a verb held since this watch began.
pub(super) struct Peak {
    kib: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peak {
    /// Begins to look.
    pub(super) fn watch() -> Self {
        let (kib, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, end) = (kib.clone(), over.clone());
        let old = cpu::grandchildren(std::process::id());
        let look = move || {
            while !end.load(Ordering::Relaxed) {
                for child in cpu::grandchildren(std::process::id()) {
                    // One that was there before ran another guest.
                    if !old.contains(&child) {
                        seen.fetch_max(cpu::peak_kib_of(child).unwrap_or(0), Ordering::Relaxed);
                    }
                }
                std::thread::sleep(LOOK);
            }
        };
        Self { kib, over, thread: Some(std::thread::spawn(look)) }
    }

    /// The most that was seen, MiB.
    pub(super) fn mib(mut self) -> u64 {
        self.end();
        self.kib.load(Ordering::Relaxed).div_ceil(1024)
    }

    fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic; if it did, its figure is what it had seen.
            let _ended = thread.join();
        }
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.end();
    }
}
