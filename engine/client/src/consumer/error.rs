//! Why polling, starting and committing fail.

use std::time::Duration;

use engine_proto::{TopicPartition, fetch::position::FetchError, group::action::GroupError};
use engine_wire::error_code::ErrorCode;

use crate::connection::RequestError;

/// Why polling failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// One partition stands still until it is started again.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The group refuses this member for good.
    #[error("the group refuses this member: {0}")]
    Group(GroupError),
    /// Subscribing needs `group.id`.
    #[error("subscribing needs group.id; without a group, assign partitions")]
    NoGroup,
}

/// A partition that is not assigned (any more).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{tp} is not assigned to this consumer")]
pub struct NotAssigned {
    /// The partition.
    pub tp: TopicPartition,
}

/// Why offsets were not committed. Some partitions may have been.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Committing needs `group.id`.
    #[error("committing needs group.id")]
    NoGroup,
    /// The group gave the partition to nobody or to another member.
    #[error("{tp}: not committed, the partition is not assigned to this consumer")]
    NotAssigned {
        /// The partition.
        tp: TopicPartition,
    },
    /// The group has moved on without this member: whatever was not committed is another's now.
    #[error("not committed, the membership is lost: {}", .code.name())]
    MembershipLost {
        /// UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION or FENCED_INSTANCE_ID.
        code: ErrorCode,
    },
    /// The group is assigning; commit again after the next event.
    #[error("not committed, the group is rebalancing")]
    RebalanceInProgress,
    /// The broker refuses one partition.
    #[error("{tp}: not committed: {} ({})", .code.name(), .code.message())]
    Partition {
        /// The partition.
        tp: TopicPartition,
        /// Why.
        code: ErrorCode,
    },
    /// `default.api.timeout.ms` passed.
    #[error("not committed within {} ms, last error {}", .timeout.as_millis(), .last.name())]
    TimedOut {
        /// How long it took.
        timeout: Duration,
        /// The last error.
        last: ErrorCode,
    },
    /// The request failed.
    #[error("commit request failed")]
    Request(#[source] RequestError),
}
