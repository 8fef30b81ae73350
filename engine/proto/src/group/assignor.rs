//! How the leader of a group deals partitions to its members.
//!
//! The trait is wide enough for sticky and cooperative assignors: a member shows what it owns and
//! at which generation ([`Subscription`]), an assignor may add user data of its own, and it says
//! by which protocol its members rebalance.
//! Never here: who is leader, and when a group rebalances (see `group::membership`).

#[cfg(test)]
mod agreement;
mod balance;
mod claims;
pub mod cooperative_sticky;
pub mod range;
pub mod round_robin;
pub mod single_owner;
pub mod sticky;

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;

use crate::{group::consumer_protocol::Subscription, topic_partition::TopicPartition};

/// Partitions per topic; topics the cluster does not have are absent.
pub type PartitionCounts = BTreeMap<Arc<str>, i32>;

/// The result: partitions by member id. Every member has an entry, possibly empty.
pub type GroupAssignment = BTreeMap<String, Vec<TopicPartition>>;

/// One member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the coordinator gave.
    pub member_id: String,
    /// Set for a static member (KIP-345): its place in the order survives a restart.
    pub group_instance_id: Option<String>,
    /// What it wants and has.
    pub subscription: Subscription,
}

/// What a member was given last. It outlives the membership: a member that comes back tells what it had, and the
/// generation tells the others how old that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAssignment {
    /// The generation in which it was given.
    pub generation_id: i32,
    /// The partitions, in order.
    pub partitions: Vec<TopicPartition>,
}

/// What members give up before they rejoin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceProtocol {
    /// Everything: all partitions are revoked before JoinGroup.
    Eager,
    /// Only what moves: it is revoked after the assignment, then the group rebalances again (KIP-429).
    Cooperative,
}

/// One way to deal partitions.
///
/// All members of a group must offer a common name; the coordinator picks it and the leader runs
/// it, so an implementation must be a pure function of its arguments.
pub trait Assignor: fmt::Debug + Send + Sync {
    /// The protocol's name in JoinGroup, shared with all other clients: `range`.
    fn name(&self) -> &'static str;

    /// How members rebalance under this assignor.
    fn rebalance_protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Eager
    }

    /// Bytes to send along with our subscription; `last` is `None` before the first assignment.
    fn user_data(&self, last: Option<&LastAssignment>) -> Option<Bytes> {
        let _ = last;
        None
    }

    /// Deals all partitions of `partitions` to the members that subscribe to their topics.
    fn assign(&self, partitions: &PartitionCounts, members: &[GroupMember]) -> GroupAssignment;
}

/// Kafka's order of members: static ones first, by their instance id, then the others by member
/// id, so that a restarted static member gets the same share.
pub(crate) fn members_in_order(members: &[GroupMember]) -> Vec<&GroupMember> {
    let mut ordered: Vec<&GroupMember> = members.iter().collect();
    ordered.sort_by(|a, b| match (&a.group_instance_id, &b.group_instance_id) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.member_id.cmp(&b.member_id),
    });
    ordered
}

/// Every member with nothing yet.
pub(crate) fn nothing_assigned(members: &[GroupMember]) -> GroupAssignment {
    members
        .iter()
        .map(|member| (member.member_id.clone(), Vec::new()))
        .collect()
}

pub(crate) fn is_subscribed(member: &GroupMember, topic: &str) -> bool {
    member.subscription.topics.iter().any(|t| t == topic)
}

#[cfg(test)]
pub(crate) mod scenarios {
    //! The vocabulary of Kafka's own assignor tests.

    use super::*;

    pub(crate) fn counts(topics: &[(&str, i32)]) -> PartitionCounts {
        topics.iter().map(|(t, n)| (Arc::from(*t), *n)).collect()
    }

    pub(crate) fn member(member_id: &str, topics: &[&str]) -> GroupMember {
        GroupMember {
            member_id: member_id.into(),
            group_instance_id: None,
            subscription: Subscription {
                topics: topics.iter().map(|t| (*t).to_owned()).collect(),
                ..Subscription::default()
            },
        }
    }

    pub(crate) fn static_member(member_id: &str, instance: &str, topics: &[&str]) -> GroupMember {
        GroupMember {
            group_instance_id: Some(instance.into()),
            ..member(member_id, topics)
        }
    }

    /// `c1: t-0 t-1 | c2: t-2`, in member order.
    pub(crate) fn printed(assignment: &GroupAssignment) -> String {
        let lines: Vec<String> = assignment
            .iter()
            .map(|(member, partitions)| {
                let list: Vec<String> = partitions.iter().map(ToString::to_string).collect();
                format!("{member}: {}", list.join(" ")).trim_end().to_owned()
            })
            .collect();
        lines.join(" | ")
    }
}
