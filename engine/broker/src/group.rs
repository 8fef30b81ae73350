//! One classic consumer group, as the broker keeps it.
//!
//! ```text
//!            first join                 all rejoined, or the rebalance timeout
//!   Empty ───────────────► Preparing ─────────────────────────────────────► Completing
//!     ▲                     ▲  ▲  │ nobody rejoined                             │  │
//!     └─────────────────────│──│──┘                       the leader's SyncGroup│  │ join, leave,
//!            join, leave, expiry└──────────────── Stable ◄──────────────────────┘  │ expiry
//!                           └──────────────────────────────────────────────────────┘
//! ```
//!
//! A rebalance is timers racing requests, so this file and those below it do no I/O and read no clock: `now` is
//! an argument, [`Group::next_deadline`] says when [`Group::handle_deadline`] wants to be called, and answers
//! that must wait are kept as the [`Reply`] end of a channel. The behaviour is that of Apache Kafka's classic
//! group coordinator (KIP-134, KIP-345, KIP-394, KIP-559, KIP-814).
//!
//! Never here: sockets, locks, the journal, protocol messages.

mod join;
mod leave;
pub(crate) mod member;
pub(crate) mod offsets;
mod rebalance;
mod sync;

#[cfg(test)]
mod tests;

pub(crate) use join::{JoinAnswer, JoinRequest, JoinedMember};
pub(crate) use sync::{SyncAnswer, SyncRequest};

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine_wire::error_code::ErrorCode;
use tokio::sync::oneshot;

use crate::group::member::Member;
use crate::group::offsets::CommittedOffsets;

/// Where an answer that had to wait is sent. The receiver may be gone (its connection closed).
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// Limits that all groups share.
#[derive(Debug, Clone)]
pub(crate) struct GroupLimits {
    pub(crate) initial_rebalance_delay: Duration,
    pub(crate) session_timeout_min: Duration,
    pub(crate) session_timeout_max: Duration,
    pub(crate) members_max: usize,
}

/// A group and everything it remembers.
#[derive(Debug)]
pub(crate) struct Group {
    limits: GroupLimits,
    state: State,
    generation_id: i32,
    /// Empty until the first member joins, and again never: a group keeps its type.
    protocol_type: String,
    protocol_name: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// group.instance.id → member id (KIP-345).
    static_members: BTreeMap<String, String>,
    /// Member ids handed out with MEMBER_ID_REQUIRED that have not joined yet, and when they are forgotten.
    pending_members: BTreeMap<String, Instant>,
    pub(crate) offsets: CommittedOffsets,
}

/// See the diagram of the module.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Empty,
    Preparing {
        deadline: Instant,
        /// The first rebalance of an empty group waits for the whole delay, which new members extend.
        initial: Option<InitialDelay>,
    },
    Completing {
        /// When members that have not sent SyncGroup are removed.
        deadline: Instant,
    },
    Stable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct InitialDelay {
    /// Extensions stop here: the rebalance timeout.
    latest: Instant,
    joined_since: bool,
}

/// A group as ListGroups and DescribeGroups show it.
#[derive(Debug)]
pub(crate) struct GroupView {
    pub(crate) state: &'static str,
    pub(crate) protocol_type: String,
    pub(crate) protocol_name: String,
    pub(crate) members: Vec<Member>,
}

impl Group {
    pub(crate) fn new(limits: GroupLimits) -> Self {
        Self {
            limits,
            state: State::Empty,
            generation_id: 0,
            protocol_type: String::new(),
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeMap::new(),
            offsets: CommittedOffsets::default(),
        }
    }

    /// A live member says so.
    pub(crate) fn heartbeat(
        &mut self,
        now: Instant,
        member_id: &str,
        instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        self.check_generation(member_id, instance_id, generation_id)?;
        let member = self.members.get_mut(member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        member.touch(now);
        match self.state {
            State::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::Preparing { .. } => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Completing { .. } | State::Stable => Ok(()),
        }
    }

    /// Whether an OffsetCommit from this member may be stored.
    pub(crate) fn check_commit(
        &mut self,
        now: Instant,
        member_id: &str,
        instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        if generation_id < 0 && self.members.is_empty() {
            return Ok(()); // A consumer with its own assignment, or an administrator.
        }
        self.check_generation(member_id, instance_id, generation_id)?;
        if let Some(member) = self.members.get_mut(member_id) {
            member.touch(now);
        }
        match self.state {
            // The member has heard of this generation but has no assignment in it yet.
            State::Completing { .. } => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Empty | State::Preparing { .. } | State::Stable => Ok(()),
        }
    }

    /// Whether offsets that this member sends in a transaction may be kept (KIP-447). A producer that names no
    /// member, as those from before that did, is believed.
    pub(crate) fn check_transactional_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        match generation_id < 0 && member_id.is_empty() && instance_id.is_none() {
            true => Ok(()),
            false => self.check_generation(member_id, instance_id, generation_id),
        }
    }

    /// When [`handle_deadline`](Self::handle_deadline) must be called at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Preparing { deadline, .. } | State::Completing { deadline } => Some(*deadline),
            State::Empty | State::Stable => None,
        };
        let sessions = self.members.values().filter_map(Member::expires_at);
        sessions
            .chain(self.pending_members.values().copied())
            .chain(state)
            .min()
    }

    /// Lets sessions and rebalances time out.
    pub(crate) fn handle_deadline(&mut self, now: Instant) {
        let forgotten = self.pending_members.len();
        self.pending_members.retain(|_, deadline| *deadline > now);
        let mut changed = forgotten != self.pending_members.len();

        let is_expired = |member: &&Member| member.expires_at().is_some_and(|at| at <= now);
        let expired: Vec<String> = self
            .members
            .values()
            .filter(is_expired)
            .map(|member| member.id.clone())
            .collect();
        for member_id in expired {
            self.remove_member(&member_id);
            self.rebalance_after_removal(now);
            changed = true;
        }
        if changed {
            self.complete_join_if_all_are_here(now);
        }
        match self.state.clone() {
            State::Preparing { deadline, initial } if deadline <= now => {
                self.handle_join_deadline(now, deadline, initial);
            }
            State::Completing { deadline } if deadline <= now => self.handle_sync_deadline(now),
            _ => {}
        }
    }

    pub(crate) fn view(&self) -> GroupView {
        let state = match self.state {
            State::Empty => "Empty",
            State::Preparing { .. } => "PreparingRebalance",
            State::Completing { .. } => "CompletingRebalance",
            State::Stable => "Stable",
        };
        // While members rejoin there is no protocol that all have agreed on.
        let agreed = matches!(self.state, State::Completing { .. } | State::Stable);
        GroupView {
            state,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone().filter(|_| agreed).unwrap_or_default(),
            members: self.members.values().map(Member::without_replies).collect(),
        }
    }

    /// No members: may be deleted, its offsets may be changed from outside.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Nothing at all is known about it: as good as absent.
    pub(crate) fn is_blank(&self) -> bool {
        self.is_empty() && self.pending_members.is_empty() && self.offsets.is_empty() && self.protocol_type.is_empty()
    }

    /// Whether members of this group, which consume with subscriptions, read `topic`.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.protocol_type == "consumer" && self.members.values().any(|member| member.may_read(topic))
    }

    /// A member must be known, and speak of the present generation.
    fn check_generation(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        self.check_member(member_id, instance_id)?;
        match generation_id == self.generation_id {
            true => Ok(()),
            false => Err(ErrorCode::ILLEGAL_GENERATION),
        }
    }

    /// A member must be known; with an instance id, it must be the instance's present member.
    fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(present) if present != member_id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        match self.members.contains_key(member_id) {
            true => Ok(()),
            false => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }
}
