//! From totals and what the running session has counted to what an observer sees.

use std::time::{Duration, Instant};

use engine_client::ConsumerStats;

use super::RunContext;
use crate::config::pipeline::OnError;
use crate::metrics::snapshot::{SinkMetrics, SourceMetrics};
use crate::progress::{CheckpointStatus, RunPhase, RunStatus};
use crate::sink::set::SinkCounts;
use crate::source::counts::SourceCounts;
use crate::view::View;

/// What the running session has counted.
#[derive(Debug, Default)]
pub(crate) struct Running {
    /// Every source, in the order of the pipeline.
    pub(crate) sources: Vec<RunningSource>,
    /// Every sink, in the order of the pipeline.
    pub(crate) sinks: Vec<SinkCounts>,
    /// The fetchers.
    pub(crate) fetchers: Vec<ConsumerStats>,
}

/// What one source has counted, and where it stands.
#[derive(Debug, Default)]
pub(crate) struct RunningSource {
    /// Since the session began.
    pub(crate) counts: SourceCounts,
    /// Its watermark: `None` without event time, or before the first row.
    pub(crate) watermark_ns: Option<i64>,
    /// Whether it has event time.
    pub(crate) has_event_time: bool,
    /// (topic, partition, records between the position and the end of the log, if that is known).
    pub(crate) lag: Vec<(String, i32, Option<u64>)>,
}

impl Running {
    /// The slowest source's watermark; `None` while one has none.
    pub(crate) fn watermark_ns(&self) -> Option<i64> {
        let with_time = self.sources.iter().filter(|source| source.has_event_time);
        with_time.map(|source| source.watermark_ns).min().flatten()
    }

    /// Records that are not read yet; `None` while that is not known of every partition.
    fn lag(&self) -> Option<u64> {
        let lags = self.sources.iter().flat_map(|source| &source.lag);
        lags.map(|(_, _, lag)| *lag).sum()
    }
}

impl RunContext {
    /// A snapshot; `running` is what the running session has counted, if there is one, and `member` what the member of the
    /// group has.
    pub(crate) fn view(&self, phase: RunPhase, running: Option<&Running>, member: &ConsumerStats) -> View {
        let status = self.status(phase, running);
        let totals = self.totals();
        let now_ns = self.wall_clock_ns();
        let sources = self.pipeline.sources.iter().enumerate().map(|(index, source)| {
            let of_session = running.map(|running| &running.sources[index]);
            let counts = totals.ended_counts[index] + of_session.map(|source| source.counts).unwrap_or_default();
            let watermark_ns = of_session.and_then(|source| source.watermark_ns);
            let lag = of_session.iter().flat_map(|source| &source.lag);
            SourceMetrics {
                source: source.name.clone(),
                records: counts.records,
                bytes: counts.bytes,
                malformed: counts.malformed,
                late: counts.late_rows,
                future: counts.skewed_rows,
                unplaced: counts.unplaced_rows,
                duplicates: counts.duplicate_rows,
                watermark_delay_seconds: watermark_ns.map(|watermark| now_ns.saturating_sub(watermark) as f64 / 1e9),
                lag: lag
                    .filter_map(|(topic, partition, lag)| Some((topic.clone(), *partition, (*lag)?)))
                    .collect(),
            }
        });
        let sinks = self.pipeline.sinks.iter().enumerate().map(|(index, sink)| {
            let of_session = running.map(|running| running.sinks[index]).unwrap_or_default();
            let counts = totals.ended_sinks[index] + of_session;
            SinkMetrics {
                sink: sink.name.clone(),
                records: counts.rows,
                bytes: counts.bytes,
                files_merged: counts.merges.files,
                merges: counts.merges.merges,
                merge_failures: counts.merges.failures,
            }
        });
        let mut requests = totals.ended_requests.clone();
        requests.add_consumer(member);
        for fetcher in running.iter().flat_map(|running| &running.fetchers) {
            requests.add_consumer(fetcher);
        }
        View {
            status,
            sources: sources.collect(),
            sinks: sinks.collect(),
            requests,
        }
    }

    /// The status alone.
    pub(crate) fn status(&self, phase: RunPhase, running: Option<&Running>) -> RunStatus {
        let totals = self.totals();
        let mut counts = SourceCounts::default();
        let mut dead_letters = 0;
        for (index, source) in self.pipeline.sources.iter().enumerate() {
            let of_session = running.map(|running| running.sources[index].counts);
            let of_source = totals.ended_counts[index] + of_session.unwrap_or_default();
            counts = counts + of_source;
            if source.on_error == OnError::DeadLetter {
                dead_letters += of_source.malformed;
            }
        }
        let ended_rows: u64 = totals.ended_sinks.iter().map(|ended| ended.rows).sum();
        let rows: u64 = running.map_or(0, |running| running.sinks.iter().map(|sink| sink.rows).sum());
        let watermark_ns = running.and_then(Running::watermark_ns);
        let now_ns = self.wall_clock_ns();
        RunStatus {
            phase,
            records_in: counts.records,
            bytes_in: counts.bytes,
            records_out: ended_rows + rows,
            late_rows: counts.late_rows,
            malformed_records: counts.malformed,
            dead_letters,
            future_rows: counts.skewed_rows,
            unplaced_rows: counts.unplaced_rows,
            duplicate_rows: counts.duplicate_rows,
            lag_records: running.and_then(Running::lag),
            watermark_ms: watermark_ns.map(|watermark| watermark.div_euclid(1_000_000)),
            watermark_delay: watermark_ns
                .map(|watermark| Duration::from_nanos(u64::try_from(now_ns.saturating_sub(watermark)).unwrap_or(0))),
            checkpoint: totals.checkpoint.map(|(checkpoint, at, duration)| CheckpointStatus {
                checkpoint_id: checkpoint.0,
                age: Instant::now().saturating_duration_since(at),
                duration,
                state_bytes: totals.written_state.map_or(0, |state| state.written_bytes),
                state_segments: totals.written_state.map_or(0, |state| state.segments),
            }),
            latency: totals.latencies.overall().summary(),
        }
    }
}
