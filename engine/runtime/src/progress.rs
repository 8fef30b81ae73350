//! What a run tells its observer: a banner when it starts, snapshots while it runs, a summary at the end.
//!
//! Plain data, so that a terminal, a log line, JSON and `/metrics` can all show the same numbers. The run
//! overwrites its snapshot; an observer that looks rarely misses some and holds nothing up.
//! Never here: terminals, formatting, clocks.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use crate::latency::summary::LatencySummary;
use crate::latency::windows::WindowSummary;
use crate::seconds;

/// Connects a run with its observer.
pub fn progress() -> (ProgressReporter, ProgressObserver) {
    let (started_sender, started) = watch::channel(None);
    let (status_sender, status) = watch::channel(RunStatus::default());
    (
        ProgressReporter {
            started: started_sender,
            status: status_sender,
        },
        ProgressObserver { started, status },
    )
}

/// The run's end. Reporting never waits and never fails, also when nobody looks.
#[derive(Debug)]
pub struct ProgressReporter {
    started: watch::Sender<Option<RunStarted>>,
    status: watch::Sender<RunStatus>,
}

impl ProgressReporter {
    /// Says what is about to run; once, when restoring is done.
    pub fn started(&self, started: RunStarted) {
        self.started.send_replace(Some(started));
    }

    /// Replaces the snapshot.
    pub fn status(&self, status: RunStatus) {
        self.status.send_replace(status);
    }
}

/// The observer's end.
#[derive(Debug, Clone)]
pub struct ProgressObserver {
    started: watch::Receiver<Option<RunStarted>>,
    status: watch::Receiver<RunStatus>,
}

impl ProgressObserver {
    /// Waits for the run to start; `None` when it ended before. Safe to drop.
    pub async fn started(&mut self) -> Option<RunStarted> {
        let started = self.started.wait_for(Option::is_some).await.ok()?;
        started.clone()
    }

    /// Waits this long, or until the run has started or ended.
    pub async fn started_within(&mut self, wait: Duration) -> Start {
        match tokio::time::timeout(wait, self.started()).await {
            Ok(Some(started)) => Start::Started(started),
            Ok(None) => Start::Ended,
            Err(_) => Start::NotYet,
        }
    }

    /// Waits this long, or until the run has ended; tells whether it has.
    pub async fn ended_within(&mut self, wait: Duration) -> bool {
        // Snapshots in between are not news: only the reporter's end is waited for.
        let ended = async { while self.status.changed().await.is_ok() {} };
        tokio::time::timeout(wait, ended).await.is_ok()
    }

    /// The newest snapshot.
    pub fn status(&self) -> RunStatus {
        self.status.borrow().clone()
    }
}

/// Whether a run has started.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// It connects, joins, restores or stands by.
    NotYet,
    /// It has the partitions.
    Started(RunStarted),
    /// It ended before it had them.
    Ended,
}

/// What the banner shows.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RunStarted {
    /// The pipeline's name.
    pub pipeline: String,
    /// `at_least_once` or `exactly_once`.
    pub guarantee: String,
    /// Addresses of the brokers, `host:port`.
    pub brokers: Vec<String>,
    /// What is known of the brokers' version, for example `Apache Kafka 4.x`.
    pub broker_version: Option<String>,
    /// The topics that are read.
    pub topics: Vec<TopicStarted>,
    /// The checkpoint that was restored; `None` on a first run.
    pub restored: Option<RestoredCheckpoint>,
    /// Where the HTTP server listens, for example `http://127.0.0.1:9600`.
    pub server_url: Option<String>,
}

/// One topic of a source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TopicStarted {
    /// The source's name in the pipeline.
    pub source: String,
    /// The topic.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: usize,
}

/// Where a restart goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RestoredCheckpoint {
    /// The checkpoint's id.
    pub checkpoint_id: u64,
    /// The watermark, in milliseconds since 1970.
    pub watermark_ms: Option<i64>,
    /// Next offset to read of every partition that had one: (topic, partition, offset).
    pub offsets: Vec<(String, i32, i64)>,
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunPhase {
    /// Connecting, joining the group, restoring.
    #[default]
    Starting,
    /// Another process owns the partitions; this one takes over when that stops or dies.
    StandingBy,
    /// Processing.
    Running,
    /// Closing the windows that are still open.
    Draining,
    /// Finishing the last checkpoint and leaving the group.
    Stopping,
}

/// Totals since the start of this process, and gauges of this moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RunStatus {
    /// What the run is doing.
    pub phase: RunPhase,
    /// Records read from all sources.
    pub records_in: u64,
    /// Record bytes read, as fetched (compressed).
    pub bytes_in: u64,
    /// Rows written to all sinks.
    pub records_out: u64,
    /// Rows that came after their window had closed, or too late for a dedup to tell whether they are repeats.
    pub late_rows: u64,
    /// Records that could not be read as their schema.
    pub malformed_records: u64,
    /// Records sent to the dead-letter topic.
    pub dead_letters: u64,
    /// Rows whose event time was too far ahead to move the watermark.
    pub future_rows: u64,
    /// Rows without an event time that a window could place; they are in no window.
    pub unplaced_rows: u64,
    /// Rows that a dedup dropped as repeats.
    pub duplicate_rows: u64,
    /// Records between the positions and the ends of all partitions; `None` while unknown.
    pub lag_records: Option<u64>,
    /// The sources' watermark in milliseconds since 1970; `None` before the first row.
    pub watermark_ms: Option<i64>,
    /// How far the watermark is behind the wall clock.
    #[serde(rename = "watermark_delay_seconds", serialize_with = "seconds::serialize_optional")]
    pub watermark_delay: Option<Duration>,
    /// The last completed checkpoint.
    pub checkpoint: Option<CheckpointStatus>,
    /// From an event's produce time, or from the event time of a session's last row, to its result's acknowledgement.
    pub latency: Option<LatencySummary>,
}

/// The last completed checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CheckpointStatus {
    /// Its id.
    pub checkpoint_id: u64,
    /// Time since it was completed.
    #[serde(rename = "age_seconds", serialize_with = "seconds::serialize")]
    pub age: Duration,
    /// How long it took.
    #[serde(rename = "duration_seconds", serialize_with = "seconds::serialize")]
    pub duration: Duration,
    /// Bytes of state that it wrote.
    pub state_bytes: u64,
    /// Segments of state that a restart would read.
    pub state_segments: u64,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// It was asked to stop.
    Stopped,
    /// It reached the end of its topics (`--until-end`); open windows are in the state.
    EndReached,
    /// It reached the end and closed all windows (`--until-end --drain`).
    Drained,
}

/// What is said at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// The pipeline's name.
    pub pipeline: String,
    /// Why it ended.
    pub outcome: RunOutcome,
    /// From the start to the end.
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds::serialize")]
    pub elapsed: Duration,
    /// The final totals.
    pub status: RunStatus,
    /// Rows written by each sink, in the pipeline's order.
    pub sinks: Vec<SinkSummary>,
    /// Time spent in each stage of a trigger, in the order of an event's way.
    pub stages: Vec<StageSummary>,
    /// Latency of the results of single windows, oldest first.
    pub windows: Vec<WindowSummary>,
}

impl RunSummary {
    /// Of a run that was asked to stop before it was ready: it has done nothing.
    pub(crate) fn before_the_start(pipeline: String, elapsed: Duration) -> Self {
        Self {
            pipeline,
            outcome: RunOutcome::Stopped,
            elapsed,
            status: RunStatus {
                phase: RunPhase::Stopping,
                ..RunStatus::default()
            },
            sinks: Vec::new(),
            stages: Vec::new(),
            windows: Vec::new(),
        }
    }
}

/// What one sink wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkSummary {
    /// The sink's name.
    pub name: String,
    /// Where it wrote: a topic or a path.
    pub target: String,
    /// Rows written.
    pub rows: u64,
}

/// Time spent in one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageSummary {
    /// The stage, for example `decode`.
    pub name: String,
    /// Time per trigger.
    pub latency: LatencySummary,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_read_durations_as_seconds() {
        let status = RunStatus {
            watermark_delay: Some(Duration::from_millis(2_500)),
            checkpoint: Some(CheckpointStatus::default()),
            ..RunStatus::default()
        };
        let json = serde_json::to_value(status).unwrap();
        assert_eq!(json["watermark_delay_seconds"], 2.5);
        assert_eq!(json["checkpoint"]["age_seconds"], 0.0);
    }

    #[tokio::test]
    async fn an_observer_sees_the_banner_and_the_newest_snapshot() {
        let (reporter, mut observer) = progress();
        reporter.started(RunStarted {
            pipeline: "ads".into(),
            ..RunStarted::default()
        });
        for records_in in [1, 2] {
            reporter.status(RunStatus {
                records_in,
                ..RunStatus::default()
            });
        }
        assert_eq!(observer.started().await.unwrap().pipeline, "ads");
        assert_eq!(observer.status().records_in, 2);
    }

    #[tokio::test]
    async fn waiting_for_a_run_that_never_starts_ends_with_the_run() {
        let (reporter, mut observer) = progress();
        drop(reporter);
        assert_eq!(observer.started().await, None);
    }

    #[tokio::test]
    async fn an_observer_learns_that_the_run_has_ended() {
        let (reporter, mut observer) = progress();
        assert!(!observer.ended_within(Duration::from_millis(1)).await);
        drop(reporter);
        assert!(observer.ended_within(Duration::from_secs(60)).await);
    }
}
