//! Why a producer did not start, or did not take a record. What became of records that were taken is
//! told by their receipts.

use std::time::Duration;

use engine_proto::producer::AppendError;

use crate::{config::PropertyError, connection::RequestError};

/// Why a producer did not start.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// The settings contradict each other.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<PropertyError>),
    /// The cluster cannot be reached.
    #[error("cannot reach the cluster at {servers}")]
    Connect {
        /// `bootstrap.servers`.
        servers: String,
        /// Of the last attempt.
        #[source]
        source: RequestError,
    },
}

/// Why a record was not accepted. Records accepted before it are still sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// `buffer.memory` stayed full for `max.block.ms`.
    #[error("{topic}: the buffer stayed full for {} ms", waited.as_millis())]
    BufferFull {
        /// The topic.
        topic: String,
        /// `max.block.ms`.
        waited: Duration,
    },
    /// No metadata of the topic within `max.block.ms`.
    #[error("{topic}: not found within {} ms: {reason}", waited.as_millis())]
    NoMetadata {
        /// The topic.
        topic: String,
        /// `max.block.ms`, or less if waiting cannot help.
        waited: Duration,
        /// The last answer.
        reason: String,
    },
    /// The record itself.
    #[error(transparent)]
    Record(#[from] AppendError),
}

/// Why a record was not accepted right now.
#[derive(Debug, thiserror::Error)]
pub enum TrySendError {
    /// The buffer is full, or the topic's metadata is on its way: wait for [`Producer::ready`](super::Producer::ready).
    #[error("the producer is not ready for a record of {topic}")]
    Full {
        /// The topic.
        topic: String,
    },
    /// The record itself.
    #[error(transparent)]
    Record(AppendError),
}
