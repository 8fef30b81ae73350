//! From totals and the running session to what an observer sees.

use std::time::{Duration, Instant};

use super::RunContext;
use super::context::wall_clock_ns;
use crate::checkpoint::recovery::{Recovery, StartPosition};
use crate::config::pipeline::{Bootstrap, OnError, SinkKind};
use crate::progress::{
    CheckpointStatus, LatencySummary, RestoredCheckpoint, RunOutcome, RunPhase, RunStarted, RunStatus, RunSummary,
    SinkSummary, StageSummary, TopicStarted, WindowSummary,
};
use crate::session::Session;
use crate::session::partitions::Partition;
use crate::session::windows::SourceCounts;
use crate::stage_times::Stage;

impl RunContext {
    /// The banner of a session that is about to run.
    pub(crate) fn started(&self, session: &Session, recovery: &Recovery, server_url: Option<String>) -> RunStarted {
        let topics = self
            .source_topics
            .iter()
            .zip(&self.sources)
            .flat_map(|(of_source, source)| {
                of_source.topics.iter().map(|(topic, partitions)| TopicStarted {
                    source: source.name.clone(),
                    topic: topic.clone(),
                    partitions: *partitions,
                })
            });
        let restored = recovery.restored.map(|checkpoint| {
            let partitions = session.sources().iter().flat_map(|source| source.partitions.values());
            let restored = partitions
                .zip(&recovery.starts)
                .filter_map(|(partition, start)| match start {
                    StartPosition::Restored { offset, .. } => {
                        Some((partition.topic.to_string(), partition.partition, *offset))
                    }
                    _ => None,
                });
            RestoredCheckpoint {
                checkpoint_id: checkpoint.0,
                watermark_ms: watermark_ns(session).map(|watermark| watermark.div_euclid(1_000_000)),
                offsets: restored.collect(),
            }
        });
        let brokers = match &self.pipeline.kafka.bootstrap {
            Bootstrap::Embedded => Vec::new(),
            Bootstrap::Servers(servers) => servers.split(',').map(|server| server.trim().to_owned()).collect(),
        };
        RunStarted {
            pipeline: self.pipeline.name.clone(),
            guarantee: self.pipeline.checkpoint.guarantee.name().to_owned(),
            brokers,
            broker_version: self.broker_version.clone(),
            topics: topics.collect(),
            restored,
            server_url,
        }
    }

    /// A snapshot; `session` is the one that is running, if any.
    pub(crate) fn status(&self, phase: RunPhase, session: Option<&Session>) -> RunStatus {
        let totals = self.totals();
        let running = session.map(Session::sources).unwrap_or_default();
        let mut counts = SourceCounts::default();
        let mut dead_letters = 0;
        for (index, source) in self.pipeline.sources.iter().enumerate() {
            let mut of_source = totals.ended_counts[index];
            if let Some(running) = running.get(index) {
                of_source = of_source + running.counts;
            }
            counts = counts + of_source;
            if source.on_error == OnError::DeadLetter {
                dead_letters += of_source.malformed;
            }
        }
        let ended_rows: u64 = totals.ended_sinks.iter().map(|ended| ended.rows).sum();
        let rows: u64 = session.map_or(0, |session| session.sinks().iter().map(|sink| sink.counts().rows).sum());
        let lags = running
            .iter()
            .flat_map(|source| source.partitions.values())
            .map(Partition::lag);
        let lag = lags.sum::<Option<i64>>().filter(|_| session.is_some());
        let watermark_ns = session.and_then(watermark_ns);
        let now_ns = wall_clock_ns();
        RunStatus {
            phase,
            records_in: counts.records,
            bytes_in: counts.bytes,
            records_out: ended_rows + rows,
            late_rows: counts.late_rows,
            malformed_records: counts.malformed,
            dead_letters,
            future_rows: counts.skewed_rows,
            lag_records: lag.map(|lag| u64::try_from(lag).unwrap_or(0)),
            watermark_ms: watermark_ns.map(|watermark| watermark.div_euclid(1_000_000)),
            watermark_delay: watermark_ns
                .map(|watermark| Duration::from_nanos(u64::try_from(now_ns.saturating_sub(watermark)).unwrap_or(0))),
            checkpoint: totals.checkpoint.map(|(checkpoint, at, duration)| CheckpointStatus {
                checkpoint_id: checkpoint.0,
                age: Instant::now().saturating_duration_since(at),
                duration,
            }),
            latency: LatencySummary::of_microseconds(&totals.latency),
        }
    }

    /// What is said at the end.
    pub(crate) fn summary(&self, outcome: RunOutcome, elapsed: Duration) -> RunSummary {
        let status = self.status(RunPhase::Stopping, None);
        let totals = self.totals();
        let sinks = self
            .pipeline
            .sinks
            .iter()
            .zip(&totals.ended_sinks)
            .map(|(sink, counts)| SinkSummary {
                name: sink.name.clone(),
                target: match &sink.kind {
                    SinkKind::Kafka(kafka) => kafka.topic.clone(),
                    SinkKind::Parquet(parquet) => parquet.path.display().to_string(),
                },
                rows: counts.rows,
            });
        let stages = Stage::ALL.into_iter().filter_map(|stage| {
            let latency = LatencySummary::of_microseconds(totals.stages.histogram(stage))?;
            Some(StageSummary {
                name: stage.name().to_owned(),
                latency,
            })
        });
        let windows = totals.window_latency.iter().filter_map(|(start, histogram)| {
            let latency = LatencySummary::of_microseconds(histogram)?;
            Some(WindowSummary {
                window_start_ms: start.div_euclid(1_000_000),
                latency,
            })
        });
        RunSummary {
            pipeline: self.pipeline.name.clone(),
            outcome,
            elapsed,
            status,
            sinks: sinks.collect(),
            stages: stages.collect(),
            windows: windows.collect(),
        }
    }
}

/// The slowest source's watermark; `None` while one has none.
fn watermark_ns(session: &Session) -> Option<i64> {
    let sources = session.sources().iter().filter(|source| source.watermarks.is_some());
    sources.map(|source| source.watermark_ns()).min().flatten()
}
