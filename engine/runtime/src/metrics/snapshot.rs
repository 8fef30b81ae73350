//! Everything that is exported, at one moment: plain data.

use engine_client::LatencyStats;

use super::process::ProcessMetrics;
use crate::progress::RunPhase;

/// Everything that is exported, at one moment. Counts are totals since the start of the process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// What the run is doing.
    pub phase: RunPhase,
    /// How it came by the partitions, and lost them.
    pub sessions: SessionCounts,
    /// The sources.
    pub sources: Vec<SourceMetrics>,
    /// The sinks.
    pub sinks: Vec<SinkMetrics>,
    /// The checkpoints.
    pub checkpoint: CheckpointMetrics,
    /// The Kafka client's requests, by API.
    pub requests: Vec<RequestMetrics>,
    /// Failed requests by class (`retriable`, `refresh_metadata`, `fenced`, `abortable`, `fatal`).
    pub errors: Vec<(String, u64)>,
    /// The state of each window and dedup.
    pub state: Vec<StateMetrics>,
    /// This process.
    pub process: ProcessMetrics,
}

/// How a process came by the partitions, and lost them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Times that it took the partitions over.
    pub begun: u64,
    /// Times that the partitions, or the transaction, were another's before it had given them up.
    pub lost: u64,
    /// Failures after which it went back to the last checkpoint.
    pub setbacks: u64,
}

/// What a source has read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceMetrics {
    /// Its name in the pipeline.
    pub source: String,
    /// Records read.
    pub records: u64,
    /// Bytes read, as fetched.
    pub bytes: u64,
    /// Records that could not be read as the schema.
    pub malformed: u64,
    /// Rows whose window had already closed.
    pub late: u64,
    /// Rows whose event time was too far ahead.
    pub future: u64,
    /// Rows without an event time that a window could place.
    pub unplaced: u64,
    /// Rows that a dedup dropped as repeats.
    pub duplicates: u64,
    /// Wall clock minus watermark, in seconds; `None` before the first row.
    pub watermark_delay_seconds: Option<f64>,
    /// Records not yet read: (topic, partition, lag).
    pub lag: Vec<(String, i32, u64)>,
}

/// What a sink has written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkMetrics {
    /// Its name in the pipeline.
    pub sink: String,
    /// Rows written.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Merges of a lake's small files.
    pub merges: u64,
    /// Small files that they replaced.
    pub files_merged: u64,
    /// Merges that failed; the files stay as they are until the next.
    pub merge_failures: u64,
}

/// What checkpoints came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckpointMetrics {
    /// Checkpoints completed.
    pub completed: u64,
    /// The time that they took together, in seconds.
    pub seconds: f64,
    /// Checkpoints that were begun and did not become whole.
    pub failed: u64,
    /// Seconds since the last one that completed; `None` before the first.
    pub age_seconds: Option<f64>,
    /// How long the last one took, in seconds; `None` before the first.
    pub duration_seconds: Option<f64>,
    /// What it wrote of the state; `None` before the first.
    pub state: Option<StoredStateMetrics>,
}

/// What a checkpoint wrote of the state, and what a restart would read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredStateMetrics {
    /// Bytes of state that the checkpoint wrote.
    pub written_bytes: u64,
    /// Segments that are live in the state topic.
    pub segments: u64,
    /// Their bytes.
    pub stored_bytes: u64,
}

/// Requests of one Kafka API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestMetrics {
    /// The API's name, such as `Fetch`.
    pub api: String,
    /// From the request to its answer.
    pub latency: LatencyStats,
}

/// The state that one window or dedup holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateMetrics {
    /// The transform's name.
    pub transform: String,
    /// Groups of open windows, open sessions, or keys.
    pub rows: u64,
    /// Their size in memory.
    pub bytes: u64,
}
