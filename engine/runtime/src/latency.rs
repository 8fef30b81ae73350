//! How long results took: HDR histograms per window and overall.
//!
//! A latency is the timestamp of a result's record minus a column of the result (`max_produce_time`), in milliseconds.
//! Clocks of two machines disagree, so it may be negative: such values are counted apart and never recorded, because
//! they would pull the percentiles down without meaning anything. See Gil Tene's HdrHistogram for the structure.
//!
//! Never here: reading topics, formatting.

use std::collections::BTreeMap;
use std::io;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer latencies are recorded as this: ten days.
const LATENCY_MS_MAX: u64 = 10 * 86_400_000;
/// Windows remembered one by one; beyond it the oldest is forgotten and stays in the overall histogram only.
const WINDOWS_MAX: usize = 10_000;
const OVERALL_DIGITS: u8 = 3;
const WINDOW_DIGITS: u8 = 2;
/// Lines per halving of the distance to 100 % in percentile distributions, as HdrHistogram's own tools have.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// A histogram of latencies in milliseconds.
#[derive(Debug, Clone)]
pub struct LatencyHistogram {
    values: Histogram<u64>,
    negative: u64,
}

/// The percentiles of a histogram, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LatencySummary {
    /// Latencies recorded.
    pub count: u64,
    /// Latencies below zero, which the clocks of two machines explain; in none of the other numbers.
    pub negative: u64,
    /// The average.
    pub average_ms: f64,
    /// Half are at most this.
    pub p50_ms: u64,
    /// 90 % are at most this.
    pub p90_ms: u64,
    /// 99 % are at most this.
    pub p99_ms: u64,
    /// 99.9 % are at most this.
    #[serde(rename = "p99.9_ms")]
    pub p999_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Default for LatencyHistogram {
    fn default() -> LatencyHistogram {
        LatencyHistogram::with_digits(OVERALL_DIGITS)
    }
}

impl LatencyHistogram {
    fn with_digits(digits: u8) -> LatencyHistogram {
        let mut values = Histogram::new(digits).expect("2 and 3 are valid numbers of digits");
        values.auto(true);
        LatencyHistogram { values, negative: 0 }
    }

    /// Records one latency.
    pub fn record(&mut self, latency_ms: i64) {
        match u64::try_from(latency_ms) {
            Ok(latency_ms) => self.record_n(latency_ms, 1),
            Err(_) => self.negative += 1,
        }
    }

    /// The histogram grows to the values it sees, so recording fails only beyond 64 bits, which the bound rules out.
    fn record_n(&mut self, latency_ms: u64, count: u64) {
        let recorded = self.values.record_n(latency_ms.min(LATENCY_MS_MAX), count);
        debug_assert!(
            recorded.is_ok(),
            "a growing histogram takes every latency below its bound"
        );
    }

    /// Adds everything that `other` has recorded.
    pub fn merge(&mut self, other: &LatencyHistogram) {
        for value in other.values.iter_recorded() {
            self.values
                .saturating_record_n(value.value_iterated_to().min(LATENCY_MS_MAX), value.count_at_value());
        }
        self.negative += other.negative;
    }

    /// Average, percentiles and maximum; zeros if nothing was recorded.
    pub fn summary(&self) -> LatencySummary {
        let at = |quantile: f64| self.values.value_at_quantile(quantile).min(self.values.max());
        LatencySummary {
            count: self.values.len(),
            negative: self.negative,
            average_ms: if self.values.is_empty() {
                0.0
            } else {
                self.values.mean()
            },
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.values.max(),
        }
    }

    /// Writes the percentile distribution as HdrHistogram's plotter reads it (`.hgrm`), in milliseconds.
    pub fn write_hgrm(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let mut total = 0;
        for value in self.values.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
            total += value.count_since_last_iteration();
            let quantile = value.quantile_iterated_to();
            write!(
                out,
                "{:12.3} {quantile:.12} {total:10}",
                value.value_iterated_to() as f64
            )?;
            if quantile < 1.0 {
                write!(out, " {:14.2}", 1.0 / (1.0 - quantile))?;
            }
            writeln!(out)?;
        }
        let (mean, deviation) = match self.values.is_empty() {
            true => (0.0, 0.0),
            false => (self.values.mean(), self.values.stdev()),
        };
        writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
        writeln!(
            out,
            "#[Max     = {:12.3}, Total count    = {:12}]",
            self.values.max() as f64,
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

/// Latencies per window and over all of them.
#[derive(Debug, Clone, Default)]
pub struct WindowLatencies {
    overall: LatencyHistogram,
    windows: BTreeMap<i64, LatencyHistogram>,
}

/// What [`WindowLatencies::report`] gives: the JSON form.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencyReport {
    /// Over all windows.
    pub overall: LatencySummary,
    /// Per window, oldest first; at most the newest 10,000.
    pub windows: Vec<WindowSummary>,
}

/// One window's latencies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowSummary {
    /// The start of the window, in the unit of the results (milliseconds since 1970).
    pub window_start: i64,
    /// Its percentiles.
    #[serde(flatten)]
    pub latency: LatencySummary,
}

impl WindowLatencies {
    /// Records the latency of one result of the window that starts at `window_start`; `None` if the results have no
    /// windows.
    pub fn record(&mut self, window_start: Option<i64>, latency_ms: i64) {
        self.overall.record(latency_ms);
        if let Some(window_start) = window_start {
            self.window(window_start).record(latency_ms);
            self.forget_oldest();
        }
    }

    /// Adds everything that `other` has recorded.
    pub fn merge(&mut self, other: &WindowLatencies) {
        self.overall.merge(&other.overall);
        for (window_start, latencies) in &other.windows {
            self.window(*window_start).merge(latencies);
            self.forget_oldest();
        }
    }

    /// The histogram over all windows.
    pub fn overall(&self) -> &LatencyHistogram {
        &self.overall
    }

    /// All percentiles.
    pub fn report(&self) -> LatencyReport {
        let summary = |(&window_start, latencies): (&i64, &LatencyHistogram)| WindowSummary {
            window_start,
            latency: latencies.summary(),
        };
        LatencyReport {
            overall: self.overall.summary(),
            windows: self.windows.iter().map(summary).collect(),
        }
    }

    fn window(&mut self, window_start: i64) -> &mut LatencyHistogram {
        self.windows
            .entry(window_start)
            .or_insert_with(|| LatencyHistogram::with_digits(WINDOW_DIGITS))
    }

    fn forget_oldest(&mut self) {
        if self.windows.len() > WINDOWS_MAX {
            self.windows.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = LatencyHistogram::default();
        (1..=1_000).for_each(|latency| histogram.record(latency));
        let summary = histogram.summary();
        assert_eq!((summary.count, summary.negative, summary.max_ms), (1_000, 0, 1_000));
        assert_eq!(
            (summary.p50_ms, summary.p90_ms, summary.p99_ms, summary.p999_ms),
            (500, 900, 990, 999)
        );
        assert!((summary.average_ms - 500.5).abs() < 0.5);
    }

    #[test]
    fn extreme_and_negative_latencies_are_kept_apart_without_a_panic() {
        let mut histogram = LatencyHistogram::default();
        for latency in [i64::MIN, -1, 0, i64::MAX] {
            histogram.record(latency);
        }
        let summary = histogram.summary();
        assert_eq!((summary.count, summary.negative, summary.p50_ms), (2, 2, 0));
        assert!(summary.max_ms >= LATENCY_MS_MAX && summary.max_ms < LATENCY_MS_MAX + LATENCY_MS_MAX / 1_000);
    }

    #[test]
    fn nothing_recorded_is_all_zeros() {
        let latencies = WindowLatencies::default();
        assert_eq!(latencies.report().overall, LatencySummary::default());
        let mut hgrm = Vec::new();
        latencies.overall().write_hgrm(&mut hgrm).unwrap();
        assert!(
            String::from_utf8(hgrm)
                .unwrap()
                .contains("Total count    =            0]")
        );
    }

    #[test]
    fn merging_is_recording_everything_in_one() {
        let (mut left, mut right, mut both) = (
            WindowLatencies::default(),
            WindowLatencies::default(),
            WindowLatencies::default(),
        );
        for latency in -5..2_000 {
            let window = Some(latency / 100 * 10_000);
            if latency % 3 == 0 {
                left.record(window, latency)
            } else {
                right.record(window, latency)
            }
            both.record(window, latency);
        }
        left.merge(&right);
        let (merged, expected) = (left.report(), both.report());
        assert_eq!(merged.windows.len(), expected.windows.len());
        assert_eq!((merged.overall.count, merged.overall.negative), (2_000, 5));
        assert_eq!(merged.overall.p99_ms, expected.overall.p99_ms);
        assert_eq!(merged.windows[3].latency.count, expected.windows[3].latency.count);
    }

    #[test]
    fn the_oldest_windows_are_forgotten_at_the_bound_but_stay_in_the_whole() {
        let mut latencies = WindowLatencies::default();
        for window in 0..WINDOWS_MAX as i64 + 5 {
            latencies.record(Some(window), 1);
        }
        let report = latencies.report();
        assert_eq!((report.windows.len(), report.windows[0].window_start), (WINDOWS_MAX, 5));
        assert_eq!(report.overall.count, WINDOWS_MAX as u64 + 5);
    }

    #[test]
    fn the_json_names_every_number() {
        let mut latencies = WindowLatencies::default();
        latencies.record(Some(10_000), 5);
        latencies.record(Some(20_000), 15);
        latencies.record(None, -1);
        let json = serde_json::to_value(latencies.report()).unwrap();
        assert_eq!(json["overall"]["p99.9_ms"], 15);
        assert_eq!(json["overall"]["negative"], 1);
        assert_eq!(json["windows"][0]["window_start"], 10_000);
        assert_eq!(json["windows"][0]["average_ms"], 5.0);
    }

    #[test]
    fn hgrm_lines_have_the_columns_of_the_plotter() {
        let mut histogram = LatencyHistogram::default();
        (1..=100).for_each(|latency| histogram.record(latency));
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
        assert_eq!(data.last().unwrap(), &[100.0, 1.0, 100.0]);
        assert!(text.contains("#[Max     =      100.000, Total count    =          100]"));
    }
}
