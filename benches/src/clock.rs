//! The CPU time of this thread.

use rustix::time::{ClockId, clock_gettime};

fn nanoseconds() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Does `work` and gives its result and the CPU time it took, seconds.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let from = nanoseconds();
    let result = work();
    // A thread's CPU time fits 52 bits for weeks.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let spent = (nanoseconds() - from) as f64;
    (result, spent / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time() {
        let (sum, worked) = time(|| (0..3_000_000_u64).fold(1, |sum, n| sum ^ (sum << 1) ^ n));
        assert!(sum != 0 && worked > 0.0);
    }
}
