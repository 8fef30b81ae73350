//! What a producer counts.

use std::collections::BTreeMap;

use crate::latency_stats::LatencyStats;

/// Counters since the producer started, and two gauges.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProducerStats {
    /// Records appended.
    pub records: u64,
    /// Their bytes as encoded, before compression.
    pub record_bytes: u64,
    /// Records acknowledged.
    pub records_delivered: u64,
    /// Records given up.
    pub records_failed: u64,
    /// Produce requests sent.
    pub requests: u64,
    /// Batches sent, retries included.
    pub batches_sent: u64,
    /// Bytes of those batches, after compression.
    pub bytes_sent: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Batches halved because the broker found them too large.
    pub splits: u64,
    /// Times that a partition's sequences started again under a new epoch.
    pub sequence_restarts: u64,
    /// Appends that found the buffer full.
    pub buffer_full: u64,
    /// From a request's sending to its answer.
    pub latency: LatencyStats,
    /// Failed attempts by Kafka's error name; `Disconnected` for requests without an answer.
    pub errors: BTreeMap<&'static str, u64>,
    /// Memory of unresolved batches now.
    pub buffered_bytes: usize,
    /// The bound of `buffered_bytes`.
    pub buffer_bytes_max: usize,
}
