//! Single owner: the member that has been there longest gets everything, the others stand by.
//!
//! For applications whose state spans partitions and that keep spare processes. Ours, not Kafka's: all members of
//! the group must offer it. Each member sends when it started; a newcomer never takes partitions from the owner.

use bytes::Bytes;

use super::{Assignor, GroupAssignment, GroupMember, LastAssignment, PartitionCounts, is_subscribed, nothing_assigned};
use crate::topic_partition::TopicPartition;

/// One owner, any number of standbys.
#[derive(Clone, Copy, Debug)]
pub struct SingleOwnerAssignor {
    /// When this member started, in ms since 1970.
    pub started_ms: i64,
}

impl SingleOwnerAssignor {
    /// The name that members agree on.
    pub const NAME: &'static str = "engine-single-owner";
}

impl Assignor for SingleOwnerAssignor {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn user_data(&self, _: Option<&LastAssignment>) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(&self.started_ms.to_be_bytes()))
    }

    fn assign(&self, partitions: &PartitionCounts, members: &[GroupMember]) -> GroupAssignment {
        let mut assignment = nothing_assigned(members);
        // One owner for all topics, also where members disagree about them: a newcomer that knows a topic more must not
        // own that topic beside the owner of the others.
        let Some(owner) = members
            .iter()
            .min_by_key(|member| (started_ms(member), &member.member_id))
        else {
            return assignment;
        };
        let owned = assignment.get_mut(&owner.member_id).expect("every member has an entry");
        for (topic, count) in partitions.iter().filter(|(topic, _)| is_subscribed(owner, topic)) {
            owned.extend((0..*count).map(|partition| TopicPartition::new(topic.clone(), partition)));
        }
        assignment
    }
}

/// A member whose user data cannot be read counts as the newest.
fn started_ms(member: &GroupMember) -> i64 {
    let data = member.subscription.user_data.as_deref().unwrap_or_default();
    <[u8; 8]>::try_from(data).map_or(i64::MAX, i64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::{counts, member, printed};
    use super::*;

    fn started(member_id: &str, started_ms: i64, topics: &[&str]) -> GroupMember {
        let mut member = member(member_id, topics);
        member.subscription.user_data = SingleOwnerAssignor { started_ms }.user_data(None);
        member
    }

    fn assigned(topics: &[(&str, i32)], members: &[GroupMember]) -> String {
        printed(&SingleOwnerAssignor { started_ms: 0 }.assign(&counts(topics), members))
    }

    #[test]
    fn the_oldest_member_owns_everything() {
        let members = [started("a", 20, &["t", "u"]), started("b", 10, &["t", "u"])];
        let assignment = SingleOwnerAssignor { started_ms: 99 }.assign(&counts(&[("t", 2), ("u", 1)]), &members);
        assert_eq!(assignment["a"], []);
        assert_eq!(assignment["b"].len(), 3);
    }

    #[test]
    fn a_newcomer_takes_nothing_from_the_owner() {
        let owner = started("z", 10, &["t"]);
        let before = assigned(&[("t", 2)], std::slice::from_ref(&owner));
        let after = assigned(&[("t", 2)], &[started("a", 11, &["t"]), owner]);
        assert!(after.ends_with(&before), "{before} then {after}");
    }

    #[test]
    fn a_newcomer_that_knows_more_topics_does_not_own_them_beside_the_owner() {
        let members = [started("new", 20, &["t", "u"]), started("old", 10, &["t"])];
        let assignment = SingleOwnerAssignor { started_ms: 0 }.assign(&counts(&[("t", 2), ("u", 1)]), &members);
        assert_eq!((assignment["new"].len(), assignment["old"].len()), (0, 2));
    }

    #[test]
    fn a_member_with_unreadable_user_data_is_the_newest() {
        let mut strange = member("a", &["t"]);
        strange.subscription.user_data = Some(Bytes::from_static(b"?"));
        let assignment =
            SingleOwnerAssignor { started_ms: 0 }.assign(&counts(&[("t", 1)]), &[strange, started("b", 5, &["t"])]);
        assert_eq!(assignment["b"].len(), 1);
    }

    #[test]
    fn a_topic_that_nobody_wants_is_nobodys() {
        assert_eq!(assigned(&[("t", 3)], &[started("a", 1, &["u"])]), "a:");
    }
}
