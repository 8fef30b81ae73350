//! What a member asks its driver to do, and what the coordinator can answer.
//!
//! Plain data without versions: the driver turns an action into the request of the version that
//! it negotiated and the answer into the outcome, so that the machine sees only what matters.

use std::sync::Arc;

use bytes::Bytes;

use crate::group::assignor::{GroupAssignment, GroupMember};

/// One thing to do; each is answered by the `handle_*` of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupAction {
    /// Find the group's coordinator.
    FindCoordinator,
    /// Send JoinGroup. It is parked at the coordinator until all members came or the rebalance
    /// timeout passed: give it that long and a little more.
    Join(Join),
    /// Find the partition counts of these topics: this member leads, and assigns.
    CountPartitions {
        /// The generation being assigned.
        generation_id: i32,
        /// Topics that any member subscribes to, in order.
        topics: Vec<Arc<str>>,
    },
    /// Send SyncGroup.
    Sync(Sync),
    /// Send Heartbeat.
    Heartbeat(Identity),
    /// Send LeaveGroup; nothing waits for the answer.
    Leave(Identity),
}

/// How a member signs its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The broker that coordinates the group.
    pub coordinator: i32,
    /// The id that the coordinator gave.
    pub member_id: String,
    /// The generation, -1 where there is none.
    pub generation_id: i32,
}

/// The contents of JoinGroup that the machine decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Tells this join from earlier ones whose answer may still arrive.
    pub attempt: u64,
    /// The broker that coordinates the group.
    pub coordinator: i32,
    /// Empty for the first join.
    pub member_id: String,
    /// Offered assignors, the preferred one first, each with the subscription's bytes.
    pub protocols: Vec<(String, Bytes)>,
}

/// The contents of SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Who sends it.
    pub identity: Identity,
    /// The assignor that the coordinator picked.
    pub protocol_name: String,
    /// The leader's assignments by member id; empty from all others.
    pub assignments: Vec<(String, Bytes)>,
}

/// A successful JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The new generation.
    pub generation_id: i32,
    /// Our id.
    pub member_id: String,
    /// The leader's id.
    pub leader: String,
    /// The assignor that the coordinator picked.
    pub protocol_name: String,
    /// Everyone's subscriptions; only the leader gets them.
    pub members: Vec<GroupMember>,
    /// The coordinator keeps the old assignment: a static leader came back (KIP-814).
    pub skip_assignment: bool,
}

/// Why the coordinator, or the way to it, refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The connection broke, the request timed out, or the coordinator is elsewhere.
    #[error("the coordinator is not available")]
    CoordinatorUnavailable,
    /// The coordinator still reads the group's log.
    #[error("the coordinator is loading the group")]
    CoordinatorLoading,
    /// KIP-394: join again with this id.
    #[error("the coordinator gave the member id {member_id}")]
    MemberIdRequired {
        /// The id.
        member_id: String,
    },
    /// The coordinator has removed us, or never knew us.
    #[error("the coordinator does not know the member (UNKNOWN_MEMBER_ID)")]
    UnknownMemberId,
    /// The group has moved on without us.
    #[error("the group is in another generation (ILLEGAL_GENERATION)")]
    IllegalGeneration,
    /// The group rebalances.
    #[error("the group is rebalancing (REBALANCE_IN_PROGRESS)")]
    RebalanceInProgress,
    /// Another process runs with our `group.instance.id`.
    #[error("another member uses the same group.instance.id (FENCED_INSTANCE_ID)")]
    FencedInstanceId,
    /// Anything that another attempt does not heal.
    #[error("{name}: {message}")]
    Fatal {
        /// Kafka's name of the error.
        name: String,
        /// What it means, or what the broker says.
        message: String,
    },
}

/// The assignment as SyncGroup carries it.
pub(crate) fn encoded(assignment: &GroupAssignment) -> Vec<(String, Bytes)> {
    use crate::group::consumer_protocol::Assignment;
    assignment
        .iter()
        .map(|(member_id, partitions)| {
            let assignment = Assignment {
                partitions: partitions.clone(),
                user_data: None,
            };
            (member_id.clone(), assignment.encode())
        })
        .collect()
}
