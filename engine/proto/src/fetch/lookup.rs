//! Questions about positions, for the driver to put to the cluster.
//!
//! Never here: when to ask (see `fetch::partition`), how (the driver's).

use std::time::Duration;

use engine_wire::error_code::ErrorCode;

use crate::{fetch::position::Position, topic_partition::TopicPartition};

/// A question about a partition's position. Its answer names the ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Tells this question from earlier ones.
    pub ticket: u64,
    /// The partition.
    pub tp: TopicPartition,
    /// What is asked.
    pub question: Question,
}

/// What is asked about a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// OffsetFetch: the group's committed offset.
    Committed,
    /// ListOffsets: -2 is the oldest, -1 the end, else a time in ms.
    Timestamp(i64),
    /// ListOffsets: the time this long before now, by the clock of whoever asks.
    Ago(Duration),
    /// OffsetForLeaderEpoch: where did the epoch of the position end?
    EndOfEpoch {
        /// The epoch.
        leader_epoch: i32,
        /// The leader's current epoch, -1 if not known.
        current_leader_epoch: i32,
    },
}

/// An answer to a [`Question`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A position.
    At(Position),
    /// There is none: nothing committed, or no record of that time or later.
    Nothing,
    /// Where the epoch ended; its number may be smaller than the one asked for.
    EpochEnd(Position),
    /// The broker cannot answer such questions: go on without.
    Unsupported,
    /// Ask again, after new metadata.
    Retry,
    /// Another attempt does not help.
    Refused(ErrorCode),
}

/// ListOffsets' name for the oldest offset.
pub const EARLIEST: i64 = -2;
/// ListOffsets' name for the end.
pub const LATEST: i64 = -1;
