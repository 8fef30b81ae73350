//! Exponential backoff with seeded jitter, for reconnects and retries.
//!
//! Many clients that lose the same broker at the same moment must not come back at the same
//! moment, so every delay is spread by ±20 % as in the Java client (KIP-144, KIP-580). The
//! jitter comes from a seed so that a simulation can be replayed.
//! Never here: a clock; the caller adds the delay to its own `now`.

use std::time::Duration;

use fastrand::Rng;

/// How a delay grows with the number of failures in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffPolicy {
    /// The delay after the first failure.
    pub initial: Duration,
    /// No delay is longer than this (before jitter).
    pub max: Duration,
}

impl BackoffPolicy {
    /// The delay after `failures` failures in a row; zero failures need no delay.
    pub fn delay(&self, failures: u32, rng: &mut Rng) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let doublings = (failures - 1).min(DOUBLINGS_MAX);
        let delay = self
            .initial
            .saturating_mul(1 << doublings)
            .min(self.max.max(self.initial));
        delay.mul_f64(1.0 - JITTER + 2.0 * JITTER * rng.f64())
    }
}

/// A policy together with the failures counted so far.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
    rng: Rng,
}

impl Backoff {
    /// A backoff without failures, jittered from `seed`.
    pub fn new(policy: BackoffPolicy, seed: u64) -> Self {
        Self {
            policy,
            failures: 0,
            rng: Rng::with_seed(seed),
        }
    }

    /// Counts a failure and says how long to wait before the next attempt.
    pub fn fail(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.policy.delay(self.failures, &mut self.rng)
    }

    /// A success: the next failure starts from the initial delay again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row so far.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

const JITTER: f64 = 0.2;
/// 2^20 times any sensible initial delay is beyond any sensible maximum.
const DOUBLINGS_MAX: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BackoffPolicy = BackoffPolicy {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(1),
    };

    #[test]
    fn delay_doubles_until_the_maximum_within_the_jitter() {
        let mut backoff = Backoff::new(POLICY, 7);
        for expected_ms in [100.0, 200.0, 400.0, 800.0, 1000.0, 1000.0] {
            let delay_ms = backoff.fail().as_secs_f64() * 1e3;
            assert!(
                (expected_ms * 0.8..=expected_ms * 1.2).contains(&delay_ms),
                "{delay_ms} is not within 20 % of {expected_ms}"
            );
        }
    }

    #[test]
    fn reset_starts_over() {
        let mut backoff = Backoff::new(POLICY, 7);
        for _ in 0..10 {
            backoff.fail();
        }
        backoff.reset();
        assert!(backoff.fail() <= Duration::from_millis(120));
    }

    #[test]
    fn equal_seeds_give_equal_delays_and_others_differ() {
        let delays = |seed| {
            let mut backoff = Backoff::new(POLICY, seed);
            (0..5).map(|_| backoff.fail()).collect::<Vec<_>>()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }

    #[test]
    fn a_huge_number_of_failures_does_not_overflow() {
        let delay = POLICY.delay(u32::MAX, &mut Rng::with_seed(1));
        assert!(delay <= Duration::from_millis(1200));
    }
}
