//! Sticky: as even as can be, and each member keeps what it had as far as that allows.
//!
//! Members give everything back before they rejoin (eagerly), so each tells in its user data what it had and since
//! when. The data is that of Kafka's `StickyAssignor`, version 1: our members and Java's form one group.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Assignor, GroupAssignment, GroupMember, LastAssignment, PartitionCounts, balance,
    claims::{Claim, Claims},
    members_in_order,
};
use crate::group::consumer_protocol::{ConsumerProtocolError, Reader, put_partitions};

/// Kafka's `StickyAssignor`.
#[derive(Clone, Copy, Debug, Default)]
pub struct StickyAssignor;

impl Assignor for StickyAssignor {
    fn name(&self) -> &'static str {
        "sticky"
    }

    fn user_data(&self, last: Option<&LastAssignment>) -> Option<Bytes> {
        last.map(encode)
    }

    fn assign(&self, partitions: &PartitionCounts, members: &[GroupMember]) -> GroupAssignment {
        let members = members_in_order(members);
        let claims = Claims::new(&members, partitions, |member| {
            let data = member.subscription.user_data.clone().unwrap_or_default();
            // A member whose data cannot be read is one that had nothing.
            decode(data).unwrap_or_default()
        });
        balance::deal(&members, partitions, &claims)
    }
}

fn encode(last: &LastAssignment) -> Bytes {
    let mut out = BytesMut::new();
    put_partitions(&mut out, &last.partitions);
    out.put_i32(last.generation_id);
    out.freeze()
}

fn decode(data: Bytes) -> Result<Claim, ConsumerProtocolError> {
    if data.is_empty() {
        return Ok(Claim::default());
    }
    let mut reader = Reader::new(data);
    let partitions = reader.partitions("sticky partitions")?;
    // Version 0, of clients before 2.3, ends here.
    let generation_id = match reader.is_empty() {
        true => -1,
        false => reader.i32("sticky generation")?,
    };
    Ok(Claim {
        partitions,
        generation_id,
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
