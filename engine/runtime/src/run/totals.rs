//! What a run has measured over all its sessions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::checkpoint::CheckpointId;
use crate::session::windows::SourceCounts;
use crate::sink::set::SinkCounts;
use crate::stage_times::StageTimes;

/// Windows whose latency is kept; beyond it the oldest are left out of the summary (and stay in the total).
const WINDOWS_MAX: usize = 1_000;

/// The longest latency that is told apart.
const LATENCY_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What a run has measured over all its sessions.
#[derive(Debug)]
pub(crate) struct Totals {
    /// Per source, of the sessions that have ended.
    pub(crate) ended_counts: Vec<SourceCounts>,
    /// Per sink, of the sessions that have ended.
    pub(crate) ended_sinks: Vec<SinkCounts>,
    /// Where the time went.
    pub(crate) stages: StageTimes,
    /// From the latest record of a window's span to its result in Kafka, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// The same per window, by window start in nanoseconds.
    pub(crate) window_latency: BTreeMap<i64, Histogram<u64>>,
    /// The newest whole checkpoint: id, when, how long.
    pub(crate) checkpoint: Option<(CheckpointId, Instant, Duration)>,
    /// Checkpoints taken by this process.
    pub(crate) checkpoints: u64,
    /// The open windows as of the newest checkpoint, by the name of the window (of all windows of a source, if it has
    /// several).
    pub(crate) state: BTreeMap<String, StateSize>,
}

/// What open windows hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StateSize {
    /// Groups.
    pub(crate) groups: usize,
    /// Bytes in memory, roughly.
    pub(crate) bytes: usize,
}

impl Totals {
    pub(crate) fn new(sources: usize, sinks: usize) -> Self {
        Totals {
            ended_counts: vec![SourceCounts::default(); sources],
            ended_sinks: vec![SinkCounts::default(); sinks],
            stages: StageTimes::default(),
            latency: latency_histogram(),
            window_latency: BTreeMap::new(),
            checkpoint: None,
            checkpoints: 0,
            state: BTreeMap::new(),
        }
    }

    /// Results of these windows, (start in ns, latest record timestamp in ms), are in Kafka as of `now_ns`.
    pub(crate) fn record_latencies(&mut self, windows: &[(i64, i64)], now_ns: i64) {
        for (start, latest_ms) in windows {
            // Clocks that disagree must not become huge latencies.
            let latency_ns = now_ns.saturating_sub(latest_ms.saturating_mul(1_000_000));
            let micros = u64::try_from(latency_ns / 1_000).unwrap_or(0);
            self.latency.saturating_record(micros);
            self.window_latency
                .entry(*start)
                .or_insert_with(latency_histogram)
                .saturating_record(micros);
            if self.window_latency.len() > WINDOWS_MAX {
                self.window_latency.pop_first();
            }
        }
    }
}

fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX.as_micros() as u64, 2)
        .expect("the bounds and two digits are valid for a histogram")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_clock_ahead_of_ours_gives_zero_and_not_a_huge_latency() {
        let mut totals = Totals::new(1, 1);
        totals.record_latencies(&[(0, 2_000), (0, i64::MAX), (10, 500)], 1_000_000_000);
        assert_eq!(totals.latency.len(), 3);
        assert!(
            totals.latency.max() >= 490_000 && totals.latency.max() <= 510_000,
            "{}",
            totals.latency.max()
        );
        assert_eq!(totals.window_latency[&0].max(), 0);
    }

    #[test]
    fn the_number_of_windows_is_bounded() {
        let mut totals = Totals::new(1, 1);
        for start in 0..2 * WINDOWS_MAX as i64 {
            totals.record_latencies(&[(start, 0)], 0);
        }
        assert_eq!(totals.window_latency.len(), WINDOWS_MAX);
        assert_eq!(totals.latency.len(), 2 * WINDOWS_MAX as u64);
    }
}
