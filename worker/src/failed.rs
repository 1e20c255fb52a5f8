//! Modules that could not be made ready, so that a job of many leases costs the machine one attempt and not one for each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tallymill_protocol::Digest;
use tallymill_sandbox::Void;

/// Most modules remembered.
const MOST: usize = 128;
/// How long. An attempt may also fail because the machine is short of memory or very busy, and that passes.
const LONGEST: Duration = Duration::from_secs(600);

/// Modules with the reasons, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Failed(VecDeque<(Digest, Instant, Void)>);

impl Failed {
    /// Why a module was not made ready a short time ago.
    pub(crate) fn why(&mut self, module: &Digest, now: Instant) -> Option<Void> {
        let old = |since: &Instant| now.saturating_duration_since(*since) >= LONGEST;
        while self.0.front().is_some_and(|(_, since, _)| old(since)) {
            self.0.pop_front();
        }
        self.0.iter().find(|(failed, ..)| failed == module).map(|(.., why)| why.clone())
    }

    /// Remembers why a module was not made ready.
    pub(crate) fn note(&mut self, module: Digest, why: Void, now: Instant) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((module, now, why));
    }
}

#[cfg(test)]
mod tests {
    use tallymill_protocol::work::VoidCause;

    use super::*;

    fn void(n: usize) -> Void {
        Void::new(VoidCause::Compile, n.to_string())
    }

    #[test]
    fn it_forgets_after_a_while_and_the_oldest_first() {
        let (mut failed, begin) = (Failed::default(), Instant::now());
        let module = |n: usize| Digest::of(&n.to_be_bytes());
        (0..=MOST).for_each(|n| failed.note(module(n), void(n), begin + Duration::from_secs(1)));
        assert_eq!(failed.why(&module(0), begin), None);
        assert_eq!(failed.why(&module(1), begin + LONGEST), Some(void(1)));
        assert_eq!(failed.0.len(), MOST);
        assert_eq!(failed.why(&module(1), begin + LONGEST + Duration::from_secs(1)), None);
    }
}
