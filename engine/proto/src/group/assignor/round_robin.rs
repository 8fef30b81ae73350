//! Round-robin: all partitions of all topics in one row, dealt like cards.
//!
//! Evens out over many topics where `range` does not, at the price of no co-partitioning.

use super::{Assignor, GroupAssignment, GroupMember, PartitionCounts, is_subscribed, members_in_order};
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
        let mut assignment: GroupAssignment = members
            .iter()
            .map(|member| (member.member_id.clone(), Vec::new()))
            .collect();
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

/// The scenarios of Kafka's `RoundRobinAssignorTest`.
#[cfg(test)]
mod tests {
    use super::super::scenarios::{counts, member, printed, static_member};
    use super::*;

    fn assigned(topics: &[(&str, i32)], members: &[GroupMember]) -> String {
        printed(&RoundRobinAssignor.assign(&counts(topics), members))
    }

    #[test]
    fn one_consumer_without_topics_gets_nothing() {
        assert_eq!(assigned(&[], &[member("c1", &[])]), "c1:");
    }

    #[test]
    fn one_consumer_of_a_nonexistent_topic_gets_nothing() {
        assert_eq!(assigned(&[], &[member("c1", &["t1"])]), "c1:");
    }

    #[test]
    fn one_consumer_gets_all_partitions_of_its_topics_only() {
        let topics = [("other", 3), ("t1", 3)];
        assert_eq!(assigned(&topics, &[member("c1", &["t1"])]), "c1: t1-0 t1-1 t1-2");
    }

    #[test]
    fn of_two_consumers_and_one_partition_the_second_gets_nothing() {
        let members = [member("c1", &["t1"]), member("c2", &["t1"])];
        assert_eq!(assigned(&[("t1", 1)], &members), "c1: t1-0 | c2:");
    }

    #[test]
    fn two_consumers_share_two_partitions() {
        let members = [member("c1", &["t1"]), member("c2", &["t1"])];
        assert_eq!(assigned(&[("t1", 2)], &members), "c1: t1-0 | c2: t1-1");
    }

    #[test]
    fn multiple_consumers_with_mixed_topics() {
        let members = [
            member("c1", &["t1"]),
            member("c2", &["t1", "t2"]),
            member("c3", &["t1"]),
        ];
        let topics = [("t1", 3), ("t2", 2)];
        assert_eq!(assigned(&topics, &members), "c1: t1-0 | c2: t1-1 t2-0 t2-1 | c3: t1-2");
    }

    #[test]
    fn two_consumers_two_topics_six_partitions() {
        let members = [member("c1", &["t1", "t2"]), member("c2", &["t1", "t2"])];
        assert_eq!(
            assigned(&[("t1", 3), ("t2", 3)], &members),
            "c1: t1-0 t1-2 t2-1 | c2: t1-1 t2-0 t2-2"
        );
    }

    #[test]
    fn static_members_come_first_in_the_order_of_their_instances() {
        let members = [
            static_member("c1", "instance-b", &["t1"]),
            static_member("c2", "instance-a", &["t1"]),
            member("a-dynamic-one", &["t1"]),
        ];
        assert_eq!(
            assigned(&[("t1", 3)], &members),
            "a-dynamic-one: t1-2 | c1: t1-1 | c2: t1-0"
        );
    }
}
