//! Where a member stands, how it behaves and what it counts: the data of [`membership`](super::membership).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{backoff::BackoffPolicy, group::assignor::Assignor};

/// How a member behaves; the names are those of the Java client.
#[derive(Clone, Debug)]
pub struct MembershipConfig {
    /// `group.instance.id`: a static member (KIP-345) does not leave when it closes.
    pub group_instance_id: Option<String>,
    /// `session.timeout.ms`: without an answered heartbeat for so long, the partitions are lost.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: an application that does not poll for so long loses its
    /// partitions.
    pub max_poll_interval: Duration,
    /// How long the group waits for a member that hands over; in Java the same as
    /// `max.poll.interval.ms`.
    pub rebalance_timeout: Duration,
    /// Pause between attempts to find or to join.
    pub backoff: BackoffPolicy,
    /// Offered strategies, the preferred one first. Not empty.
    pub assignors: Vec<Arc<dyn Assignor>>,
    /// `client.rack`, told to the leader.
    pub rack_id: Option<String>,
}

/// Where the member stands; see the diagram above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// Wants to join, and will when a coordinator is known and a backoff is over.
    Unjoined,
    /// The application is giving partitions back.
    Revoking {
        /// The generation it may still commit under.
        generation_id: i32,
        /// When the group goes on without it.
        until: Instant,
    },
    /// JoinGroup is at the coordinator.
    Joining {
        /// Which one; the answer to an earlier one is late.
        attempt: u64,
    },
    /// Leads, and waits for partition counts.
    Assigning {
        /// The generation being assigned.
        generation_id: i32,
    },
    /// SyncGroup is at the coordinator.
    Syncing {
        /// The generation being assigned.
        generation_id: i32,
    },
    /// Has an assignment.
    Stable {
        /// Its generation.
        generation_id: i32,
    },
    /// Closed, or refused for good.
    Left,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembershipStats {
    /// Assignments received.
    pub rebalances: u64,
    /// How long the last rebalance took, from the first JoinGroup to the assignment.
    pub last_rebalance: Duration,
    /// Heartbeats sent.
    pub heartbeats: u64,
    /// Heartbeats that failed or were refused.
    pub heartbeat_errors: u64,
    /// Times that the membership was lost with partitions in hand.
    pub losses: u64,
}
