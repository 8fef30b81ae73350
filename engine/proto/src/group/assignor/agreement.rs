//! The scenarios of Kafka's own tests in which range and round-robin must deal alike.

use super::{
    Assignor, GroupMember,
    range::RangeAssignor,
    round_robin::RoundRobinAssignor,
    scenarios::{counts, member, printed, static_member},
};

/// What both assignors deal.
fn assigned(topics: &[(&str, i32)], members: &[GroupMember]) -> String {
    let range = printed(&RangeAssignor.assign(&counts(topics), members));
    let round_robin = printed(&RoundRobinAssignor.assign(&counts(topics), members));
    assert_eq!(range, round_robin);
    range
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
fn static_members_come_first_in_the_order_of_their_instances() {
    let members = [
        static_member("c1", "instance-c", &["t1"]),
        static_member("c2", "instance-a", &["t1"]),
        member("a-dynamic-one", &["t1"]),
    ];
    assert_eq!(
        assigned(&[("t1", 3)], &members),
        "a-dynamic-one: t1-2 | c1: t1-1 | c2: t1-0"
    );
}

#[test]
fn only_subscribed_topics_are_assigned() {
    let topics = [("other", 3), ("t1", 3)];
    assert_eq!(assigned(&topics, &[member("c1", &["t1"])]), "c1: t1-0 t1-1 t1-2");
}
