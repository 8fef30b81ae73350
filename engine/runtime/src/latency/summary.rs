//! The percentiles of a histogram of durations.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::seconds;

/// Percentiles of a histogram of durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LatencySummary {
    /// How many durations were recorded.
    pub count: u64,
    /// Their mean.
    #[serde(rename = "average_seconds", serialize_with = "seconds::serialize")]
    pub average: Duration,
    /// Half are at most this.
    #[serde(rename = "p50_seconds", serialize_with = "seconds::serialize")]
    pub p50: Duration,
    /// 90 % are at most this.
    #[serde(rename = "p90_seconds", serialize_with = "seconds::serialize")]
    pub p90: Duration,
    /// 99 % are at most this.
    #[serde(rename = "p99_seconds", serialize_with = "seconds::serialize")]
    pub p99: Duration,
    /// 99.9 % are at most this.
    #[serde(rename = "p99.9_seconds", serialize_with = "seconds::serialize")]
    pub p999: Duration,
    /// The longest.
    #[serde(rename = "max_seconds", serialize_with = "seconds::serialize")]
    pub max: Duration,
}

impl LatencySummary {
    /// Reads the percentiles of a histogram in microseconds; `None` when it is empty.
    pub fn of_microseconds(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        Some(Self {
            count: histogram.len(),
            average: Duration::from_secs_f64(histogram.mean() / 1e6),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_micros(histogram.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_a_histogram_in_microseconds() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        assert_eq!(LatencySummary::of_microseconds(&histogram), None);
        for micros in 1..=1000 {
            histogram.record(micros).unwrap();
        }
        let summary = LatencySummary::of_microseconds(&histogram).unwrap();
        assert_eq!(summary.count, 1000);
        assert_eq!(summary.p50, Duration::from_micros(500));
        assert_eq!(summary.p99, Duration::from_micros(990));
        assert_eq!(summary.max, Duration::from_micros(1000));
        assert_eq!(summary.average, Duration::from_micros(500) + Duration::from_nanos(500));
    }
}
