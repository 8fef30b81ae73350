//! Range: per topic, contiguous runs of partitions.
//!
//! Partition 3 of two topics with the same subscribers goes to the same member, which joins of
//! co-partitioned topics rely on. The price: with many small topics the first members get more.
//! Racks (KIP-881) are not looked at yet.

use super::{
    Assignor, GroupAssignment, GroupMember, PartitionCounts, is_subscribed, members_in_order, nothing_assigned,
};
use crate::topic_partition::TopicPartition;

/// Kafka's `RangeAssignor`, the default strategy of the Java client.
#[derive(Clone, Copy, Debug, Default)]
pub struct RangeAssignor;

impl Assignor for RangeAssignor {
    fn name(&self) -> &'static str {
        "range"
    }

    fn assign(&self, partitions: &PartitionCounts, members: &[GroupMember]) -> GroupAssignment {
        let ordered = members_in_order(members);
        let mut assignment = nothing_assigned(members);
        for (topic, count) in partitions {
            let subscribers: Vec<&GroupMember> = ordered
                .iter()
                .copied()
                .filter(|member| is_subscribed(member, topic))
                .collect();
            if subscribers.is_empty() {
                continue;
            }
            let count = usize::try_from(*count).unwrap_or(0);
            let (share, extra) = (count / subscribers.len(), count % subscribers.len());
            let mut next = 0;
            for (rank, member) in subscribers.iter().enumerate() {
                let end = next + share + usize::from(rank < extra);
                let list = assignment
                    .get_mut(&member.member_id)
                    .expect("every member has an entry");
                list.extend((next..end).map(|partition| {
                    let partition = i32::try_from(partition).expect("counted from an i32");
                    TopicPartition::new(topic.clone(), partition)
                }));
                next = end;
            }
        }
        assignment
    }
}

/// The scenarios of Kafka's `RangeAssignorTest`, without those in `agreement`.
#[cfg(test)]
mod tests {
    use super::super::scenarios::{counts, member, printed, static_member};
    use super::*;

    fn assigned(topics: &[(&str, i32)], members: &[GroupMember]) -> String {
        printed(&RangeAssignor.assign(&counts(topics), members))
    }

    #[test]
    fn one_consumer_of_one_topic_gets_it_all() {
        assert_eq!(assigned(&[("t1", 3)], &[member("c1", &["t1"])]), "c1: t1-0 t1-1 t1-2");
    }

    #[test]
    fn one_consumer_of_several_topics_gets_them_all() {
        let topics = [("t1", 1), ("t2", 2)];
        assert_eq!(assigned(&topics, &[member("c1", &["t1", "t2"])]), "c1: t1-0 t2-0 t2-1");
    }

    #[test]
    fn two_consumers_two_topics_six_partitions() {
        let members = [member("c1", &["t1", "t2"]), member("c2", &["t1", "t2"])];
        assert_eq!(
            assigned(&[("t1", 3), ("t2", 3)], &members),
            "c1: t1-0 t1-1 t2-0 t2-1 | c2: t1-2 t2-2"
        );
    }

    #[test]
    fn a_restarted_static_member_keeps_its_share() {
        let before = [
            static_member("x", "instance-1", &["t1"]),
            static_member("y", "instance-2", &["t1"]),
        ];
        let after = [
            static_member("zzz", "instance-1", &["t1"]),
            static_member("y", "instance-2", &["t1"]),
        ];
        let before = RangeAssignor.assign(&counts(&[("t1", 4)]), &before);
        let after = RangeAssignor.assign(&counts(&[("t1", 4)]), &after);
        assert_eq!(before["x"], after["zzz"]);
        assert_eq!(before["y"], after["y"]);
    }
}
