//! How often one client may call: a steady rate and a burst for each class of routes, by the key that logged in, and without a
//! login by the neighbourhood of the address.
//!
//! Memory is bounded by construction: clients share a fixed number of places, by a hash that nobody outside can foresee. Two
//! that meet in one place share its allowance, which is far above what each of them needs.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use tallymill_protocol::Key;

/// Places of clients, for each class; each takes eight bytes.
const PLACES: usize = 1 << 16;

/// What a route costs this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Never limited: whether the process lives and is ready.
    Health,
    /// What makes keys known and logs them in: by the address, whoever asks, since a key costs nothing.
    Login,
    /// What changes something: jobs, cancellations, statements, what operators do.
    Submission,
    /// What only reads.
    Read,
    /// Calls of workers.
    Work,
    /// Blobs.
    Upload,
}

/// Calls: so many a second in the long run, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Calls a second.
    pub steady: u32,
    /// Calls at once.
    pub burst: u32,
}

/// What clients of one class may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Each key that logged in.
    pub key: Rate,
    /// Each neighbourhood of addresses, for callers without a login.
    pub place: Rate,
    /// All addresses together that do not tell where somebody is: this machine's, those of private networks.
    pub nowhere: Rate,
}

/// What every client may, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// [`Class::Login`], which counts addresses alone.
    pub login: Allowance,
    /// [`Class::Submission`].
    pub submission: Allowance,
    /// [`Class::Read`].
    pub read: Allowance,
    /// [`Class::Work`].
    pub work: Allowance,
    /// [`Class::Upload`].
    pub upload: Allowance,
}

const fn rate(steady: u32, burst: u32) -> Rate {
    Rate { steady, burst }
}

/// Of private networks and this machine: also all that comes through a proxy.
const NOWHERE: Rate = rate(20_000, 100_000);
/// Without a login, where one is needed.
const STRANGER: Rate = rate(50, 500);

impl Default for Rates {
    /// Above what a worker, a client of the library and a browser do on the quickest machine; a thousand machines behind one
    /// address log in within a minute.
    fn default() -> Self {
        let of = |key, place| Allowance { key, place, nowhere: NOWHERE };
        Self {
            login: of(rate(50, 2_000), rate(50, 2_000)),
            submission: of(rate(100, 1_000), STRANGER),
            read: of(rate(2_000, 20_000), rate(200, 2_000)),
            work: of(rate(200, 2_000), STRANGER),
            upload: of(rate(500, 5_000), STRANGER),
        }
    }
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// The key of a login.
    Key(Key),
    /// A neighbourhood of addresses.
    Place([u8; 8]),
    /// An address that does not tell where somebody is.
    Nowhere,
}

/// A refusal: what was passed, and when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOften {
    /// What this client may.
    pub rate: Rate,
    /// Seconds until the next call is taken, at least 1.
    pub after: u64,
}

struct Places(Box<[InMemoryState]>);

impl Places {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| InMemoryState::default()).collect())
    }
}

impl StateStore for Places {
    type Key = usize;

    fn measure_and_replace<T, F, E>(&self, key: &usize, f: F) -> Result<T, E>
    where
        F: Fn(Option<governor::nanos::Nanos>) -> Result<(T, governor::nanos::Nanos), E>,
    {
        self.0[*key].measure_and_replace(&NotKeyed::NonKey, f)
    }
}

struct Limited<C: Clock> {
    rate: Rate,
    places: usize,
    limiter: RateLimiter<usize, Places, C, NoOpMiddleware<C::Instant>>,
}

impl<C: Clock> Limited<C> {
    fn new(rate: Rate, places: usize, clock: C) -> Self {
        let least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(least_one(rate.steady)).allow_burst(least_one(rate.burst));
        Self { rate, places, limiter: RateLimiter::new(quota, Places::new(places), clock) }
    }

    fn check(&self, hash: u64) -> Result<(), TooOften> {
        let place = usize::try_from(hash).unwrap_or_default() % self.places;
        self.limiter.check_key(&place).map_err(|until| {
            let wait = until.wait_time_from(self.limiter.clock().now());
            TooOften { rate: self.rate, after: wait.saturating_add(ROUND_UP).as_secs().max(1) }
        })
    }
}

/// What makes the whole seconds of a wait its next whole ones.
const ROUND_UP: Duration = Duration::from_nanos(999_999_999);

struct Shared<C: Clock> {
    key: Limited<C>,
    place: Limited<C>,
    nowhere: Limited<C>,
}

/// Who called how often.
pub struct Limits<C: Clock = DefaultClock> {
    login: Shared<C>,
    submission: Shared<C>,
    read: Shared<C>,
    work: Shared<C>,
    upload: Shared<C>,
    hasher: RandomState,
}

impl Limits {
    /// Nobody has called yet.
    #[must_use]
    pub fn new(rates: &Rates) -> Self {
        Self::with_clock(rates, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limits<C> {
    fn with_clock(rates: &Rates, clock: &C) -> Self {
        let shared = |allowance: Allowance| Shared {
            key: Limited::new(allowance.key, PLACES, clock.clone()),
            place: Limited::new(allowance.place, PLACES, clock.clone()),
            nowhere: Limited::new(allowance.nowhere, 1, clock.clone()),
        };
        Self {
            login: shared(rates.login),
            submission: shared(rates.submission),
            read: shared(rates.read),
            work: shared(rates.work),
            upload: shared(rates.upload),
            hasher: RandomState::new(),
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// When this client calls too often.
    pub fn check(&self, class: Class, who: Who) -> Result<(), TooOften> {
        let shared = match class {
            Class::Health => return Ok(()),
            Class::Login => &self.login,
            Class::Submission => &self.submission,
            Class::Read => &self.read,
            Class::Work => &self.work,
            Class::Upload => &self.upload,
        };
        let limited = match who {
            Who::Key(_) => &shared.key,
            Who::Place(_) => &shared.place,
            Who::Nowhere => &shared.nowhere,
        };
        limited.check(self.hasher.hash_one(who))
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limits(rates: &Rates) -> (Limits<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Limits::with_clock(rates, &clock), clock)
    }

    fn small() -> Rates {
        let each = Allowance { key: rate(2, 3), place: rate(1, 2), nowhere: rate(1, 5) };
        Rates { login: each, submission: each, read: each, work: each, upload: each }
    }

    /// How many calls are taken, of many.
    fn taken(limits: &Limits<FakeRelativeClock>, class: Class, who: Who) -> usize {
        (0..100).filter(|_| limits.check(class, who).is_ok()).count()
    }

    #[test]
    fn a_burst_is_taken_and_then_a_steady_rate() {
        let (limits, clock) = limits(&small());
        let who = Who::Key(Key([1; 32]));
        assert_eq!(taken(&limits, Class::Read, who), 3);
        let told = limits.check(Class::Read, who).unwrap_err();
        assert_eq!((told.rate, told.after), (rate(2, 3), 1));
        clock.advance(Duration::from_secs(1));
        assert_eq!(taken(&limits, Class::Read, who), 2);
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(taken(&limits, Class::Read, who), 3);
    }

    #[test]
    fn classes_and_kinds_of_clients_do_not_share() {
        let (limits, _) = limits(&small());
        for class in [Class::Login, Class::Submission, Class::Read, Class::Work, Class::Upload] {
            assert_eq!(taken(&limits, class, Who::Key(Key([1; 32]))), 3, "{class:?}");
            assert_eq!(taken(&limits, class, Who::Place([4; 8])), 2, "{class:?}");
            assert_eq!(taken(&limits, class, Who::Nowhere), 5, "{class:?}");
        }
        assert_eq!(taken(&limits, Class::Health, Who::Nowhere), 100);
    }

    #[test]
    fn any_number_of_clients_takes_no_more_memory_and_harms_few_others() {
        let (limits, _) = limits(&small());
        // Ten thousand that use all they have.
        for number in 0..10_000_u64 {
            taken(&limits, Class::Read, Who::Place(number.to_be_bytes()));
        }
        let free = |number: u64| {
            limits.check(Class::Read, Who::Place((1 << 40 | number).to_be_bytes())).is_ok()
        };
        let free = (0..1_000).filter(|number| free(*number)).count();
        assert!(free > 700, "{free} of 1,000 others still get through");
    }

    #[test]
    fn the_figures_are_far_above_what_a_crowd_on_this_machine_needs() {
        let rates = Rates::default();
        // Ten thousand hosts that join at once from one address of this machine: a binding, a challenge and a login each.
        assert!(rates.login.nowhere.burst >= 30_000);
        // A lease lasts a fifth of a second at least, so that a host calls some five times a second.
        assert!(rates.work.key.steady >= 20 * 5);
    }
}
