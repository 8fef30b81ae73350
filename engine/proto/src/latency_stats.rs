//! How long things took, counted in a fixed number of buckets.

use std::time::Duration;

/// Durations by powers of two of a microsecond: bounded, cheap, good to a factor of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyStats {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
    /// The longest.
    pub max: Duration,
    /// `buckets[i]` counts durations below 2^i µs and not below half of that.
    pub buckets: [u64; 40],
}

impl Default for LatencyStats {
    fn default() -> Self {
        Self {
            count: 0,
            sum: Duration::ZERO,
            max: Duration::ZERO,
            buckets: [0; 40],
        }
    }
}

impl LatencyStats {
    /// Counts one.
    pub fn record(&mut self, duration: Duration) {
        self.count += 1;
        self.sum += duration;
        self.max = self.max.max(duration);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.buckets[bucket.min(self.buckets.len() - 1)] += 1;
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &LatencyStats) {
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_below_the_power_of_two_above_it() {
        let mut stats = LatencyStats::default();
        for micros in [0, 1, 2, 3, 4, u64::MAX] {
            stats.record(Duration::from_micros(micros));
        }
        assert_eq!((stats.count, stats.max), (6, Duration::from_micros(u64::MAX)));
        assert_eq!((&stats.buckets[..4], stats.buckets[39]), (&[1, 1, 2, 1][..], 1));
    }

    #[test]
    fn merging_is_counting_everything_in_one() {
        let (mut one, mut other, mut both) = (
            LatencyStats::default(),
            LatencyStats::default(),
            LatencyStats::default(),
        );
        for micros in 0..100 {
            let duration = Duration::from_micros(micros);
            if micros % 3 == 0 {
                one.record(duration)
            } else {
                other.record(duration)
            }
            both.record(duration);
        }
        one.merge(&other);
        assert_eq!(one, both);
    }
}
