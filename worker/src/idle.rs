//! Children between two batches: kept by what they serve, few of them, and not for long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What waits to be used again, the one that waited longest first.
#[derive(Debug)]
pub(crate) struct Idle<K, T> {
    waiting: VecDeque<(K, Instant, T)>,
    most: usize,
    longest: Duration,
}

impl<K: PartialEq, T> Idle<K, T> {
    /// Keeps at most `most`, each for at most `longest`.
    pub(crate) const fn new(most: usize, longest: Duration) -> Self {
        Self { waiting: VecDeque::new(), most, longest }
    }

    /// One that serves exactly `key`, the last used first.
    pub(crate) fn take(&mut self, key: &K) -> Option<T> {
        let at = self.waiting.iter().rposition(|(held, ..)| held == key)?;
        self.waiting.remove(at).map(|(.., item)| item)
    }

    /// Keeps `item`; what has to go for it is handed back, so that it ends outside of any lock.
    #[must_use = "what has to go must be dropped where that may take time"]
    pub(crate) fn put(&mut self, key: K, item: T, now: Instant) -> Vec<T> {
        self.waiting.push_back((key, now, item));
        let over = self.waiting.len().saturating_sub(self.most);
        let mut gone: Vec<T> = self.waiting.drain(..over).map(|(.., item)| item).collect();
        gone.extend(self.expire(now));
        gone
    }

    /// Takes out what has waited too long.
    #[must_use = "what has to go must be dropped where that may take time"]
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<T> {
        let fresh = |since: &Instant| now.saturating_duration_since(*since) < self.longest;
        let old = self.waiting.iter().take_while(|(_, since, _)| !fresh(since)).count();
        self.waiting.drain(..old).map(|(.., item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn only_the_same_key_is_served_and_the_last_used_first() {
        let (mut idle, now) = (Idle::new(4, MINUTE), Instant::now());
        assert!(idle.put(("payer a", "module"), 1, now).is_empty());
        assert!(idle.put(("payer a", "module"), 2, now).is_empty());
        assert_eq!(idle.take(&("payer b", "module")), None);
        assert_eq!(idle.take(&("payer a", "other")), None);
        assert_eq!(idle.take(&("payer a", "module")), Some(2));
        assert_eq!(idle.take(&("payer a", "module")), Some(1));
        assert_eq!(idle.take(&("payer a", "module")), None);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let (mut idle, now) = (Idle::new(2, MINUTE), Instant::now());
        assert!(idle.put(1, 'a', now).is_empty());
        assert!(idle.put(2, 'b', now).is_empty());
        assert_eq!(idle.put(3, 'c', now), ['a']);
        assert_eq!(idle.take(&1), None);
    }

    #[test]
    fn what_waits_too_long_goes() {
        let (mut idle, now) = (Idle::new(9, MINUTE), Instant::now());
        assert!(idle.put(1, 'a', now).is_empty());
        assert!(idle.put(2, 'b', now + MINUTE / 2).is_empty());
        assert!(idle.expire(now + MINUTE / 2).is_empty());
        assert_eq!(idle.expire(now + MINUTE), ['a']);
        assert_eq!(idle.put(3, 'c', now + 2 * MINUTE), ['b']);
        assert_eq!(idle.take(&3), Some('c'));
    }
}
