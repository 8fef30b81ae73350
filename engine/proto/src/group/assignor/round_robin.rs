//! Round-robin: all partitions of all topics in one row, dealt like cards.
//!
//! Evens out over many topics where `range` does not, at the price of no co-partitioning.

use super::{
    Assignor, GroupAssignment, GroupMember, PartitionCounts, is_subscribed, members_in_order, nothing_assigned,
};
use crate::topic_partition::TopicPartition;

/// Kafka's `RoundRobinAssignor`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobinAssignor;

impl Assignor for RoundRobinAssignor {
    fn name(&self) -> &'static str {
        "roundrobin"
    }

    fn assign(&self, partitions: &PartitionCounts, members: &[GroupMember]) -> GroupAssignment {
        let ordered = members_in_order(members);
        let mut assignment = nothing_assigned(members);
        // The dealer goes round once more where a member does not subscribe to the topic.
        let mut turn = 0;
        for (topic, count) in partitions {
            if !ordered.iter().any(|member| is_subscribed(member, topic)) {
                continue;
            }
            for partition in 0..*count {
                while !is_subscribed(ordered[turn % ordered.len()], topic) {
                    turn += 1;
                }
                let member = ordered[turn % ordered.len()];
                assignment
                    .get_mut(&member.member_id)
                    .expect("every member has an entry")
                    .push(TopicPartition::new(topic.clone(), partition));
                turn += 1;
            }
        }
        assignment
    }
}

/// The scenarios of Kafka's `RoundRobinAssignorTest`, without those in `agreement`.
#[cfg(test)]
mod tests {
    use super::super::scenarios::{counts, member, printed};
    use super::*;

    fn assigned(topics: &[(&str, i32)], members: &[GroupMember]) -> String {
        printed(&RoundRobinAssignor.assign(&counts(topics), members))
    }

    #[test]
    fn two_consumers_two_topics_six_partitions() {
        let members = [member("c1", &["t1", "t2"]), member("c2", &["t1", "t2"])];
        assert_eq!(
            assigned(&[("t1", 3), ("t2", 3)], &members),
            "c1: t1-0 t1-2 t2-1 | c2: t1-1 t2-0 t2-2"
        );
    }
}
