//! What a run has measured over all its sessions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine_stream::graph::StateSize;

use crate::checkpoint::CheckpointId;
use crate::latency::windows::{LatestOfWindow, WindowLatencies};
use crate::metrics::request_totals::RequestTotals;
use crate::metrics::snapshot::SessionCounts;
use crate::sink::set::SinkCounts;
use crate::source::counts::SourceCounts;
use crate::stage_times::StageTimes;

/// Windows whose latency is kept; beyond it the oldest are left out of the summary (and stay in the total).
const WINDOWS_MAX: usize = 1_000;

/// What a run has measured over all its sessions.
#[derive(Debug)]
pub(crate) struct Totals {
    /// Per source, of the sessions that have ended.
    pub(crate) ended_counts: Vec<SourceCounts>,
    /// Per sink, of the sessions that have ended.
    pub(crate) ended_sinks: Vec<SinkCounts>,
    /// Where the time went.
    pub(crate) stages: StageTimes,
    /// Requests of the fetchers and members of the sessions that have ended.
    pub(crate) ended_requests: RequestTotals,
    /// From the latest record of a window's span to its result in Kafka.
    pub(crate) latencies: WindowLatencies,
    /// The newest whole checkpoint: id, when, how long.
    pub(crate) checkpoint: Option<(CheckpointId, Instant, Duration)>,
    /// Checkpoints taken by this process.
    pub(crate) checkpoints: u64,
    /// The time that they took together.
    pub(crate) checkpoint_time: Duration,
    /// Checkpoints that were begun and did not become whole, or whose partitions turned out to be another process's.
    pub(crate) checkpoint_failures: u64,
    /// How often this process had the partitions, and lost them.
    pub(crate) sessions: SessionCounts,
    /// What each transform that remembers something held at the newest checkpoint, by its name.
    pub(crate) state: BTreeMap<String, StateSize>,
    /// What the newest checkpoint wrote of the state; `None` before the first, and while no partitions are owned.
    pub(crate) written_state: Option<WrittenState>,
}

/// What a checkpoint wrote of the state, and what stands in the state topic with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WrittenState {
    /// Bytes of the segments that it wrote.
    pub(crate) written_bytes: u64,
    /// Live segments, over all partitions.
    pub(crate) segments: u64,
    /// Their bytes: what a restart reads.
    pub(crate) stored_bytes: u64,
}

impl Totals {
    pub(crate) fn new(sources: usize, sinks: usize) -> Self {
        Totals {
            ended_counts: vec![SourceCounts::default(); sources],
            ended_sinks: vec![SinkCounts::default(); sinks],
            stages: StageTimes::default(),
            ended_requests: RequestTotals::default(),
            latencies: WindowLatencies::new(WINDOWS_MAX),
            checkpoint: None,
            checkpoints: 0,
            checkpoint_time: Duration::ZERO,
            checkpoint_failures: 0,
            sessions: SessionCounts::default(),
            state: BTreeMap::new(),
            written_state: None,
        }
    }

    /// Results of these windows are in Kafka as of `now_ns`. Those of sessions are in the whole only.
    pub(crate) fn record_latencies(&mut self, windows: &[LatestOfWindow], now_ns: i64) {
        for LatestOfWindow { start_ns, latest_ms } in windows {
            let latency_ns = now_ns.saturating_sub(latest_ms.saturating_mul(1_000_000));
            let start_ms = start_ns.map(|start_ns| start_ns.div_euclid(1_000_000));
            self.latencies.record(start_ms, latency_ns.div_euclid(1_000));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_clock_ahead_of_ours_is_counted_apart_and_is_no_huge_latency() {
        let mut totals = Totals::new(1, 1);
        let windows = [(Some(0), 2_000), (Some(0), i64::MAX), (None, 500)];
        let windows = windows.map(|(start_ns, latest_ms)| LatestOfWindow { start_ns, latest_ms });
        totals.record_latencies(&windows, 1_000_000_000);
        let overall = totals.latencies.overall();
        assert_eq!((overall.count(), overall.negative()), (1, 2));
        assert_eq!(overall.summary().unwrap().max.as_millis(), 500);
        assert_eq!(totals.latencies.windows().len(), 1, "a session is in the whole only");
    }
}
