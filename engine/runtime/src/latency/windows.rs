//! Latencies per window and over all of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::histogram::LatencyHistogram;
use super::summary::LatencySummary;

/// Windows remembered one by one unless somebody wants fewer.
const WINDOWS_MAX: usize = 10_000;
/// Digits that are kept of a window's latencies.
const WINDOW_DIGITS: u8 = 2;

/// Latencies per window and over all of them.
#[derive(Debug, Clone)]
pub struct WindowLatencies {
    overall: LatencyHistogram,
    windows: BTreeMap<i64, LatencyHistogram>,
    windows_max: usize,
}

/// What [`WindowLatencies::report`] gives: the JSON form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LatencyReport {
    /// Over all windows.
    pub overall: LatencySummary,
    /// Latencies below zero, which the clocks of two machines explain; in none of the other numbers.
    pub negative: u64,
    /// Per window, oldest first; the newest ones, if there are more than are remembered.
    pub windows: Vec<WindowSummary>,
}

/// One window's latencies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WindowSummary {
    /// The start of the window in milliseconds since 1970.
    pub window_start_ms: i64,
    /// Its percentiles.
    pub latency: LatencySummary,
}

/// What the latency of a window is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LatestOfWindow {
    /// The start of the window in ns; `None` for a session, which shares its start with few others.
    pub(crate) start_ns: Option<i64>,
    /// In ms: the timestamp of the latest record of the window's span, or the event time of the session's last row.
    pub(crate) latest_ms: i64,
}

impl Default for WindowLatencies {
    fn default() -> WindowLatencies {
        WindowLatencies::new(WINDOWS_MAX)
    }
}

impl WindowLatencies {
    /// Remembers `windows_max` windows one by one; beyond it the oldest is forgotten and stays in the overall histogram
    /// only.
    pub fn new(windows_max: usize) -> WindowLatencies {
        WindowLatencies {
            overall: LatencyHistogram::default(),
            windows: BTreeMap::new(),
            windows_max,
        }
    }

    /// Records the latency of one result, in microseconds; `None` if it is of no window.
    pub fn record(&mut self, window_start_ms: Option<i64>, latency_us: i64) {
        self.overall.record(latency_us);
        if let Some(window_start_ms) = window_start_ms {
            self.windows
                .entry(window_start_ms)
                .or_insert_with(|| LatencyHistogram::with_digits(WINDOW_DIGITS))
                .record(latency_us);
            if self.windows.len() > self.windows_max {
                self.windows.pop_first();
            }
        }
    }

    /// The histogram over all windows.
    pub fn overall(&self) -> &LatencyHistogram {
        &self.overall
    }

    /// Every window, oldest first; zeros for one whose latencies were all below zero.
    pub fn windows(&self) -> Vec<WindowSummary> {
        let windows = self.windows.iter();
        windows
            .map(|(&window_start_ms, latencies)| WindowSummary {
                window_start_ms,
                latency: latencies.summary().unwrap_or_default(),
            })
            .collect()
    }

    /// All percentiles; zeros if nothing was recorded.
    pub fn report(&self) -> LatencyReport {
        LatencyReport {
            overall: self.overall.summary().unwrap_or_default(),
            negative: self.overall.negative(),
            windows: self.windows(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_windows_are_forgotten_at_the_bound_but_stay_in_the_whole() {
        let mut latencies = WindowLatencies::new(100);
        for window in 0..105 {
            latencies.record(Some(window), 1);
        }
        let report = latencies.report();
        assert_eq!((report.windows.len(), report.windows[0].window_start_ms), (100, 5));
        assert_eq!(report.overall.count, 105);
    }

    #[test]
    fn a_window_whose_clocks_disagree_is_counted_and_not_measured() {
        let mut latencies = WindowLatencies::default();
        latencies.record(Some(0), -1);
        let report = latencies.report();
        assert_eq!(
            (report.negative, report.overall.count, report.windows[0].latency.count),
            (1, 0, 0)
        );
    }

    #[test]
    fn the_json_names_every_number() {
        let mut latencies = WindowLatencies::default();
        latencies.record(Some(10_000), 5_000);
        latencies.record(Some(20_000), 15_000);
        latencies.record(None, -1);
        let json = serde_json::to_value(latencies.report()).unwrap();
        assert_eq!(json["negative"], 1);
        assert_eq!(json["overall"]["average_seconds"], 0.01);
        assert_eq!(json["overall"]["p99.9_seconds"], 0.015);
        assert_eq!(json["windows"][0]["window_start_ms"], 10_000);
        assert_eq!(json["windows"][0]["latency"]["count"], 1);
    }
}
