//! Questions about offsets, as straight-line requests that consumer and admin share.
//!
//! - `list`: ListOffsets and OffsetForLeaderEpoch, asked of partition leaders.
//! - `committed`: OffsetFetch and OffsetCommit, asked of a group's coordinator.

pub(crate) mod committed;
pub(crate) mod list;

pub use committed::CommittedOffset;
pub use list::ListedOffset;

use std::time::Duration;

use engine_proto::TopicPartition;
use engine_wire::error_code::ErrorCode;

use crate::connection::RequestError;

/// Why offsets could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OffsetsError {
    /// The broker refuses one partition.
    #[error("{tp}: {} ({})", .code.name(), .code.message())]
    Partition {
        /// The partition.
        tp: TopicPartition,
        /// Why.
        code: ErrorCode,
    },
    /// The group's coordinator refuses the whole request.
    #[error("group {group}: {} ({})", .code.name(), .code.message())]
    Group {
        /// The group.
        group: String,
        /// Why.
        code: ErrorCode,
    },
    /// The coordinator's answer says nothing about a partition that it was asked about, or what cannot be. Not to be
    /// taken for a partition without committed offset, or reading would begin anew.
    #[error("{tp}: the coordinator's answer does not tell the committed offset")]
    NotTold {
        /// The partition.
        tp: TopicPartition,
    },
    /// The consumer has no `group.id`.
    #[error("offsets of a group need group.id")]
    NoGroup,
    /// `default.api.timeout.ms` passed; the last answer was a retriable one.
    #[error("{tp}: no offset within {} ms, last error {}", .timeout.as_millis(), .last.name())]
    TimedOut {
        /// One of the partitions without an answer.
        tp: TopicPartition,
        /// How long it took.
        timeout: Duration,
        /// The last error.
        last: ErrorCode,
    },
    /// The request failed.
    #[error("offsets request failed")]
    Request(#[from] RequestError),
}
