//! Positions: where a partition is read next, and where reading starts.

use std::time::Duration;

use engine_wire::{error_code::ErrorCode, record_batch::BatchError};

use crate::topic_partition::TopicPartition;

/// The next record to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its offset.
    pub offset: i64,
    /// The leader epoch of the record before it, if known: lets the cluster tell whether the log
    /// was truncated below the position (KIP-320).
    pub leader_epoch: Option<i32>,
}

/// Where to start a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the group's committed offset; without one, as `auto.offset.reset` says.
    Committed,
    /// At this offset.
    Offset {
        /// The next record to read.
        offset: i64,
        /// The leader epoch of the record before it, if known.
        leader_epoch: Option<i32>,
    },
    /// At the oldest record.
    Earliest,
    /// Behind the newest record (`read_committed`: behind the last stable one).
    Latest,
    /// At the first record of this time or later, in ms since 1970; at the end if there is none.
    Timestamp(i64),
    /// At the first record of the last so much time, as of when the cluster is asked; at the end if there is none.
    Ago(Duration),
}

/// `auto.offset.reset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetReset {
    /// To the oldest record.
    Earliest,
    /// Behind the newest record.
    Latest,
    /// To the first record of the last so much time, by the client's clock (KIP-1106).
    ByDuration(Duration),
    /// Never silently: an error.
    #[default]
    None,
}

/// Why a partition stands still until the application starts it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The position is not in the log: retention passed it, or it is beyond the end.
    #[error("{tp}: offset {offset} is out of range, and auto.offset.reset is none")]
    OffsetOutOfRange {
        /// The partition.
        tp: TopicPartition,
        /// The position.
        offset: i64,
    },
    /// The group has no committed offset here.
    #[error("{tp}: no committed offset, and auto.offset.reset is none")]
    NoCommittedOffset {
        /// The partition.
        tp: TopicPartition,
    },
    /// The log was cut below the position: records that were read are gone (KIP-320).
    #[error("{tp}: the log was truncated below offset {offset}; it diverges at {end_offset:?}")]
    LogTruncated {
        /// The partition.
        tp: TopicPartition,
        /// The position.
        offset: i64,
        /// Up to where the log still agrees, if the cluster knows.
        end_offset: Option<i64>,
    },
    /// The topic was deleted and created again: the position means nothing in the new one.
    #[error("{tp}: the topic was created anew, offset {offset} belongs to the old one")]
    TopicRecreated {
        /// The partition.
        tp: TopicPartition,
        /// The position.
        offset: i64,
    },
    /// The broker refuses, and another attempt does not help.
    #[error("{tp}: fetch at offset {offset} refused: {} ({})", .code.name(), .code.message())]
    Refused {
        /// The partition.
        tp: TopicPartition,
        /// The position, -1 if there was none yet.
        offset: i64,
        /// Why.
        code: ErrorCode,
    },
    /// The broker sent bytes that are no record batch.
    #[error("{tp}: malformed record batch at offset {offset}")]
    Malformed {
        /// The partition.
        tp: TopicPartition,
        /// The position.
        offset: i64,
        /// What is wrong.
        #[source]
        source: BatchError,
    },
}
