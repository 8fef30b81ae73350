//! Numbers that follow from a seed alone, so that a plan can be repeated.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014): a few lines, and every seed is a good one.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// An independent row of numbers for each part of a seed's plan.
    pub(crate) fn of(seed: u64, part: u64) -> Self {
        let mut random = Random(seed);
        let seed = random.next();
        Random(seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `from` to `to`, both included.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        assert!(from <= to);
        from + self.next() % (to - from + 1)
    }

    pub(crate) fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.between(from * 1_000, to * 1_000))
    }

    /// One of these, as often as its weight says.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let all = choices.iter().map(|(weight, _)| weight).sum::<u64>();
        let mut at = self.between(1, all);
        for &(weight, choice) in choices {
            if at <= weight {
                return choice;
            }
            at -= weight;
        }
        unreachable!("the weights add up")
    }
}
