//! Choices drawn from a seed, the same on every machine.

/// A stream of choices.
pub struct Draw(u64);

impl Draw {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// 64 bits.
    pub const fn bits(&mut self) -> u64 {
        example_inputs::draw(&mut self.0)
    }

    /// A number below `end`, which is not 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// A number from `first` to `last`.
    pub const fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// A number from 1 to about `most`, each order of magnitude as likely as any other.
    pub fn magnitude(&mut self, most: u64) -> u64 {
        let width = self.between(1, u64::from(most.max(1).ilog2()) + 1);
        (self.below(1 << width)).clamp(1, most)
    }

    /// True in `parts` of `whole` cases.
    pub const fn chance(&mut self, parts: u64, whole: u64) -> bool {
        self.below(whole) < parts
    }

    /// One of these, which are not none.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        let at = self.below(all.len() as u64);
        all[usize::try_from(at).unwrap_or(0)]
    }

    /// Some bytes.
    pub fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.bits().to_le_bytes()[0]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_choices_and_another_seed_gives_others() {
        let some = |seed| -> Vec<u64> {
            let mut draw = Draw::new(seed);
            (0..8).map(|_| draw.bits()).collect()
        };
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
    }

    #[test]
    fn choices_stay_in_range() {
        let mut draw = Draw::new(1);
        for _ in 0..1000 {
            assert!(draw.below(3) < 3);
            assert!((4..=6).contains(&draw.between(4, 6)));
            assert!((1..=1000).contains(&draw.magnitude(1000)));
        }
    }
}
