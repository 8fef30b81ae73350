//! Cooperative sticky (KIP-429): as sticky, but nobody stops reading what it keeps.
//!
//! Members rejoin with their partitions in hand. A partition that moves is given to nobody at first, so that its
//! owner revokes it; the rebalance that follows the revocation gives it to the new one.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Assignor, GroupAssignment, GroupMember, LastAssignment, PartitionCounts, RebalanceProtocol, balance,
    claims::{Claim, Claims},
    members_in_order,
};
use crate::group::consumer_protocol::Reader;

/// Kafka's `CooperativeStickyAssignor`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CooperativeStickyAssignor;

impl Assignor for CooperativeStickyAssignor {
    fn name(&self) -> &'static str {
        "cooperative-sticky"
    }

    fn rebalance_protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Cooperative
    }

    /// The generation, for leaders that do not read it in the subscription (before Kafka 3.2).
    fn user_data(&self, last: Option<&LastAssignment>) -> Option<Bytes> {
        let mut out = BytesMut::with_capacity(4);
        out.put_i32(last.map_or(-1, |last| last.generation_id));
        Some(out.freeze())
    }

    fn assign(&self, partitions: &PartitionCounts, members: &[GroupMember]) -> GroupAssignment {
        let members = members_in_order(members);
        let claims = Claims::new(&members, partitions, |member| Claim {
            partitions: member.subscription.owned_partitions.clone(),
            generation_id: generation_id(member),
        });
        let mut assignment = balance::deal(&members, partitions, &claims);
        for (place, member) in members.iter().enumerate() {
            let given = assignment
                .get_mut(&member.member_id)
                .expect("every member has an entry");
            given.retain(|tp| !claims.is_held_by_another(tp, place));
        }
        assignment
    }
}

fn generation_id(member: &GroupMember) -> i32 {
    let subscription = &member.subscription;
    let in_user_data = || {
        let mut reader = Reader::new(subscription.user_data.clone()?);
        reader.i32("cooperative generation").ok()
    };
    subscription.generation_id.or_else(in_user_data).unwrap_or(-1)
}

#[cfg(test)]
mod tests;
