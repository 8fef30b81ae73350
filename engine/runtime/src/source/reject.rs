//! Records that cannot be read as their source's schema, and what `on_error` makes of them.

use std::fmt;

use engine_stream::json::RowError;
use engine_wire::record_batch::Record;

use crate::sink_error::SinkError;

/// A malformed record on its way to whoever handles it.
#[derive(Debug)]
pub(crate) struct Reject<'a> {
    /// The source's name in the pipeline.
    pub(crate) source: &'a str,
    /// The Kafka topic.
    pub(crate) topic: &'a str,
    /// The partition of that topic.
    pub(crate) partition: i32,
    /// The record as it was read.
    pub(crate) record: &'a Record<'a>,
    /// What is wrong with it.
    pub(crate) error: &'a RowError,
}

/// Takes malformed records where `on_error = "dead_letter"`.
pub(crate) trait DeadLetters: fmt::Debug + Send + Sync {
    /// Keeps the record, or says why it cannot. May block while the producer's buffer is full.
    fn write(&self, reject: &Reject<'_>) -> Result<(), SinkError>;
}

/// What happens to a malformed record.
#[derive(Debug, Clone)]
pub(crate) enum RejectPolicy {
    /// The pipeline stops.
    Fail,
    /// It is counted.
    Drop,
    /// It is counted and kept.
    DeadLetter(std::sync::Arc<dyn DeadLetters>),
}
