//! One HDR histogram of latencies. See Gil Tene's HdrHistogram for the structure.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::summary::LatencySummary;

/// Longer latencies are recorded as this: ten days.
const LATENCY_US_MAX: u64 = 10 * 86_400_000_000;
/// Digits that are kept of every latency.
pub(super) const OVERALL_DIGITS: u8 = 3;
/// Lines per halving of the distance to 100 % in percentile distributions, as HdrHistogram's own tools have.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
const US_PER_MS: f64 = 1_000.0;

/// A histogram of latencies, in microseconds. It grows with the values it sees: about 1 KiB per doubling with two
/// digits, 8 KiB with three, and at most 40 doublings.
#[derive(Debug, Clone)]
pub struct LatencyHistogram {
    values: Histogram<u64>,
    /// Exact, unlike what the buckets give.
    sum_us: u128,
    max_us: u64,
    negative: u64,
}

impl Default for LatencyHistogram {
    fn default() -> LatencyHistogram {
        LatencyHistogram::with_digits(OVERALL_DIGITS)
    }
}

impl LatencyHistogram {
    pub(super) fn with_digits(digits: u8) -> LatencyHistogram {
        let mut values = Histogram::new(digits).expect("2 and 3 are valid numbers of digits");
        values.auto(true);
        LatencyHistogram {
            values,
            sum_us: 0,
            max_us: 0,
            negative: 0,
        }
    }

    /// Records one latency in microseconds; one below zero is counted apart.
    pub fn record(&mut self, latency_us: i64) {
        let Ok(latency_us) = u64::try_from(latency_us) else {
            self.negative += 1;
            return;
        };
        let latency_us = latency_us.min(LATENCY_US_MAX);
        self.sum_us += u128::from(latency_us);
        self.max_us = self.max_us.max(latency_us);
        // It grows to the values it sees, so recording fails only beyond 64 bits, which the bound rules out.
        let recorded = self.values.record(latency_us);
        debug_assert!(
            recorded.is_ok(),
            "a growing histogram takes every latency below its bound"
        );
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.values.len()
    }

    /// How many were below zero.
    pub fn negative(&self) -> u64 {
        self.negative
    }

    /// Average and maximum, exact, and percentiles; `None` if nothing was recorded.
    pub fn summary(&self) -> Option<LatencySummary> {
        let about = LatencySummary::of_microseconds(&self.values)?;
        let max = Duration::from_micros(self.max_us);
        let average_us = self.sum_us / u128::from(about.count);
        Some(LatencySummary {
            count: about.count,
            average: Duration::from_micros(u64::try_from(average_us).unwrap_or(u64::MAX)),
            p50: about.p50.min(max),
            p90: about.p90.min(max),
            p99: about.p99.min(max),
            p999: about.p999.min(max),
            max,
        })
    }

    /// Writes the percentile distribution as HdrHistogram's plotter reads it (`.hgrm`), in milliseconds.
    pub fn write_hgrm(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let milliseconds = |micros: u64| micros as f64 / US_PER_MS;
        let mut total = 0;
        for value in self.values.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
            total += value.count_since_last_iteration();
            let quantile = value.quantile_iterated_to();
            let value = milliseconds(value.value_iterated_to());
            write!(out, "{value:12.3} {quantile:.12} {total:10}")?;
            if quantile < 1.0 {
                write!(out, " {:14.2}", 1.0 / (1.0 - quantile))?;
            }
            writeln!(out)?;
        }
        let (mean, deviation) = match self.values.is_empty() {
            true => (0.0, 0.0),
            false => (self.values.mean() / US_PER_MS, self.values.stdev() / US_PER_MS),
        };
        writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
        writeln!(
            out,
            "#[Max     = {:12.3}, Total count    = {:12}]",
            milliseconds(self.values.max()),
            self.values.len()
        )?;
        writeln!(
            out,
            "#[Buckets = {:12}, SubBuckets     = {:12}]",
            self.values.buckets(),
            2_048
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000;

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = LatencyHistogram::default();
        (1..=1_000).for_each(|latency| histogram.record(latency * MS));
        let summary = histogram.summary().unwrap();
        assert_eq!((summary.count, histogram.negative()), (1_000, 0));
        let milliseconds = [summary.p50, summary.p90, summary.p99, summary.p999, summary.max].map(|at| at.as_millis());
        assert_eq!(milliseconds, [500, 900, 990, 999, 1_000]);
        assert_eq!(summary.average, Duration::from_micros(500_500));
    }

    #[test]
    fn extreme_and_negative_latencies_are_kept_apart_without_a_panic() {
        let mut histogram = LatencyHistogram::default();
        for latency in [i64::MIN, -1, 0, i64::MAX] {
            histogram.record(latency);
        }
        let summary = histogram.summary().unwrap();
        assert_eq!((summary.count, histogram.negative()), (2, 2));
        assert_eq!(summary.p50, Duration::ZERO);
        assert_eq!(summary.max, Duration::from_micros(LATENCY_US_MAX));
    }

    #[test]
    fn nothing_recorded_has_no_percentiles_and_an_empty_distribution() {
        let histogram = LatencyHistogram::default();
        assert_eq!(histogram.summary(), None);
        let mut hgrm = Vec::new();
        histogram.write_hgrm(&mut hgrm).unwrap();
        let text = String::from_utf8(hgrm).unwrap();
        assert!(text.contains("Total count    =            0]"), "{text}");
    }

    #[test]
    fn hgrm_lines_have_the_columns_of_the_plotter() {
        let mut histogram = LatencyHistogram::default();
        (1..=100).for_each(|latency| histogram.record(latency * MS));
        let mut hgrm = Vec::new();
        histogram.write_hgrm(&mut hgrm).unwrap();
        let text = String::from_utf8(hgrm).unwrap();
        let mut lines = text.lines();
        assert_eq!(
            lines.next().unwrap(),
            "       Value     Percentile TotalCount 1/(1-Percentile)"
        );
        assert_eq!(lines.next().unwrap(), "");
        assert_eq!(
            lines.next().unwrap(),
            "       1.000 0.000000000000          1           1.00"
        );
        let data: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(
            data.windows(2)
                .all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2])
        );
        let last = data.last().unwrap();
        assert!((100.0..100.1).contains(&last[0]), "{last:?}");
        assert_eq!(last[1..], [1.0, 100.0]);
        assert!(text.contains("Total count    =          100]"), "{text}");
    }
}
