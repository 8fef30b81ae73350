//! The scenarios of Kafka's `AbstractStickyAssignorTest` and `StickyAssignorTest`: who must keep what.

use super::*;
use crate::group::assignor::scenarios::{counts, member, printed, static_member};
use crate::topic_partition::TopicPartition;

/// `t-0 t-1` as partitions.
fn list(text: &str) -> Vec<TopicPartition> {
    let partition = |word: &str| {
        let (topic, partition) = word.rsplit_once('-').expect("topic-partition");
        TopicPartition::new(topic, partition.parse().expect("a number"))
    };
    text.split_whitespace().map(partition).collect()
}

/// A member that was given `had` in a generation.
fn holder(member_id: &str, topics: &[&str], generation_id: i32, had: &str) -> GroupMember {
    let mut member = member(member_id, topics);
    let last = LastAssignment {
        generation_id,
        partitions: list(had),
    };
    member.subscription.user_data = StickyAssignor.user_data(Some(&last));
    member
}

fn assigned(topics: &[(&str, i32)], members: &[GroupMember]) -> String {
    printed(&StickyAssignor.assign(&counts(topics), members))
}

/// The members with what they were just given, in the next generation.
fn after(members: &[GroupMember], topics: &[(&str, i32)], generation_id: i32) -> Vec<GroupMember> {
    let assignment = StickyAssignor.assign(&counts(topics), members);
    let given = |member: &GroupMember| {
        let mut member = member.clone();
        let last = LastAssignment {
            generation_id,
            partitions: assignment[&member.member_id].clone(),
        };
        member.subscription.user_data = StickyAssignor.user_data(Some(&last));
        member
    };
    members.iter().map(given).collect()
}

#[test]
fn a_group_without_a_past_is_dealt_in_turn() {
    let both = ["t1", "t2"];
    for (topics, members, expected) in [
        (&[][..], vec![member("c1", &[])], "c1:"),
        (&[("t", 0)], vec![member("c1", &["t"])], "c1:"),
        (&[("t", 3)], vec![member("c1", &["t"])], "c1: t-0 t-1 t-2"),
        (&[("other", 3), ("t", 1)], vec![member("c1", &["t"])], "c1: t-0"),
        (&[("t1", 1), ("t2", 2)], vec![member("c1", &both)], "c1: t1-0 t2-0 t2-1"),
        (
            &[("t", 1)],
            vec![member("c1", &["t"]), member("c2", &["t"])],
            "c1: t-0 | c2:",
        ),
        (
            &[("t", 2)],
            vec![member("c1", &["t"]), member("c2", &["t"])],
            "c1: t-0 | c2: t-1",
        ),
        (
            &[("t1", 3), ("t2", 3)],
            vec![member("c1", &both), member("c2", &both)],
            "c1: t1-0 t1-2 t2-1 | c2: t1-1 t2-0 t2-2",
        ),
        (
            // Only one member wants t2, so t1 is for the others.
            &[("t1", 3), ("t2", 2)],
            vec![member("c1", &["t1"]), member("c2", &both), member("c3", &["t1"])],
            "c1: t1-0 t1-2 | c2: t2-0 t2-1 | c3: t1-1",
        ),
    ] {
        assert_eq!(assigned(topics, &members), expected, "{topics:?}");
    }
}

#[test]
fn members_keep_what_they_had_up_to_their_share() {
    let both = ["t1", "t2"];
    for (topics, members, expected) in [
        (
            // One of two gets the odd one.
            &[("t1", 2), ("t2", 3)][..],
            vec![holder("c1", &both, 1, "t1-0 t2-1"), holder("c2", &both, 1, "t1-1 t2-2")],
            "c1: t1-0 t2-0 t2-1 | c2: t1-1 t2-2",
        ),
        (
            // More members hold the larger share than may.
            &[("t1", 2), ("t2", 2)],
            vec![
                holder("c1", &both, 1, "t1-0 t2-0"),
                holder("c2", &both, 1, "t1-1 t2-1"),
                member("c3", &both),
            ],
            "c1: t1-0 t2-0 | c2: t1-1 | c3: t2-1",
        ),
        (
            // All hold less than their share.
            &[("t1", 2), ("t2", 3)],
            vec![
                holder("c1", &both, 1, "t1-0"),
                holder("c2", &both, 1, "t1-1"),
                member("c3", &both),
            ],
            "c1: t1-0 t2-1 | c2: t1-1 t2-2 | c3: t2-0",
        ),
        (
            // What is not wanted any more, and what is not there any more, is forgotten.
            &[("t", 2), ("other", 2)],
            vec![holder("c1", &["t"], 1, "t-0 t-1 t-2 other-0 other-1 gone-0")],
            "c1: t-0 t-1",
        ),
        (
            &[],
            vec![
                holder("c1", &["gone"], 1, "gone-0"),
                holder("c2", &["gone"], 1, "gone-1"),
            ],
            "c1: | c2:",
        ),
    ] {
        assert_eq!(assigned(topics, &members), expected, "{topics:?}");
    }
}

#[test]
fn members_come_and_go_and_the_others_keep_theirs() {
    let topics = [("t1", 3), ("t2", 4)];
    let both = ["t1", "t2"];
    let mut members = vec![member("c1", &both), member("c2", &both)];
    assert_eq!(
        assigned(&topics, &members),
        "c1: t1-0 t1-2 t2-1 t2-3 | c2: t1-1 t2-0 t2-2"
    );
    members = after(&members, &topics, 1);
    members.extend([member("c3", &both), member("c4", &both)]);
    let four = "c1: t1-0 t1-2 | c2: t1-1 t2-0 | c3: t2-1 t2-3 | c4: t2-2";
    assert_eq!(assigned(&topics, &members), four);
    members = after(&members, &topics, 2);
    assert_eq!(assigned(&topics, &members), four, "nothing changed, nothing moves");
    members.drain(..2);
    assert_eq!(
        assigned(&topics, &members),
        "c3: t1-1 t2-0 t2-1 t2-3 | c4: t1-0 t1-2 t2-2"
    );
}

#[test]
fn topics_come_and_go_and_members_keep_theirs_of_the_others() {
    let one = [("a", 3)];
    let two = [("a", 3), ("b", 3)];
    let members = [member("c1", &["a", "b"]), member("c2", &["a", "b"])];
    let members = after(&members, &one, 1);
    let before = assigned(&one, &members);
    assert_eq!(before, "c1: a-0 a-2 | c2: a-1");
    assert_eq!(assigned(&two, &members), "c1: a-0 a-2 b-1 | c2: a-1 b-0 b-2");
    let members = after(&members, &two, 2);
    assert_eq!(assigned(&[("b", 3)], &members), "c1: b-1 | c2: b-0 b-2");
}

#[test]
fn different_subscriptions_are_balanced_where_round_robin_is_not() {
    let all = ["t1", "t2", "t3", "t4", "t5"];
    let odd = ["t1", "t3", "t5"];
    let members = [
        member("c1", &all),
        member("c2", &odd),
        member("c3", &odd),
        member("c4", &all),
    ];
    let topics = [("t1", 2), ("t2", 1), ("t3", 2), ("t4", 1), ("t5", 2)];
    let assignment = StickyAssignor.assign(&counts(&topics), &members);
    let loads: Vec<usize> = assignment.values().map(Vec::len).collect();
    assert_eq!(loads, [2, 2, 2, 2], "{}", printed(&assignment));
}

/// Balance needs a partition to go from c1 to c2 and another one from c2 to c3: nothing of c1 is wanted by c3.
#[test]
fn a_chain_of_moves_is_found_where_no_single_one_helps() {
    let topics = [("a", 3), ("b", 3)];
    let members = [
        holder("c1", &["a"], 1, "a-0 a-1 a-2"),
        holder("c2", &["a", "b"], 1, "b-0 b-1"),
        holder("c3", &["b"], 1, "b-2"),
    ];
    assert_eq!(assigned(&topics, &members), "c1: a-0 a-1 | c2: a-2 b-0 | c3: b-1 b-2");
}

#[test]
fn a_static_member_that_comes_back_with_nothing_takes_nothing_from_the_others() {
    let members = [
        static_member("new", "instance", &["t"]),
        holder("c2", &["t"], 3, "t-1 t-3"),
    ];
    assert_eq!(assigned(&[("t", 4)], &members), "c2: t-1 t-3 | new: t-0 t-2");
}

/// Pitfall 18: two members claim one partition at different generations. The later one is right.
#[test]
fn of_two_claims_the_one_of_the_later_generation_counts() {
    for (members, expected) in [
        (
            // c1 was away while c2 and c3 shared everything.
            vec![
                holder("c1", &["t"], 5, "t-0 t-1 t-2"),
                holder("c2", &["t"], 6, "t-0 t-2 t-4"),
                holder("c3", &["t"], 6, "t-1 t-3 t-5"),
            ],
            "c1: t-4 t-5 | c2: t-0 t-2 | c3: t-1 t-3",
        ),
        (
            // What nobody else claims stays also with an old claim.
            vec![
                holder("c1", &["t"], 1, "t-0 t-1"),
                holder("c2", &["t"], 3, "t-2 t-3"),
                holder("c3", &["t"], 2, "t-2 t-3 t-4"),
            ],
            "c1: t-0 t-1 | c2: t-2 t-3 | c3: t-4 t-5",
        ),
        (
            // The same generation twice cannot be: neither is believed, and what is free is dealt anew.
            vec![
                holder("c1", &["t"], 2, "t-0 t-1"),
                holder("c2", &["t"], 2, "t-1 t-2"),
                holder("c3", &["t"], 2, "t-3 t-4"),
            ],
            "c1: t-0 t-1 | c2: t-2 t-5 | c3: t-3 t-4",
        ),
        (
            // A later generation settles also what two earlier ones disagree about.
            vec![
                holder("c1", &["t"], 2, "t-0 t-1"),
                holder("c2", &["t"], 2, "t-0 t-1"),
                holder("c3", &["t"], 3, "t-0 t-1"),
            ],
            "c1: t-2 t-4 | c2: t-3 t-5 | c3: t-0 t-1",
        ),
    ] {
        assert_eq!(assigned(&[("t", 6)], &members), expected);
    }
}

#[test]
fn the_data_of_other_clients_is_read_in_both_versions() {
    // As Java's schema lays it out: topics, each with its partitions, then (version 1) the generation.
    let version_0 = b"\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x03";
    let claim = decode(Bytes::from_static(version_0)).expect("version 0 is valid");
    assert_eq!((claim.partitions, claim.generation_id), (list("t-0 t-3"), -1));
    let last = LastAssignment {
        generation_id: 7,
        partitions: list("t-0 t-3"),
    };
    let version_1 = [&version_0[..], &7i32.to_be_bytes()].concat();
    assert_eq!(encode(&last), version_1);
    let claim = decode(version_1.into()).expect("version 1 is valid");
    assert_eq!((claim.partitions, claim.generation_id), (list("t-0 t-3"), 7));
}

#[test]
fn a_member_whose_data_cannot_be_read_had_nothing() {
    for hostile in [
        &b"\x7f\xff\xff\xff"[..],
        b"\0",
        b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0",
    ] {
        let mut strange = member("c1", &["t"]);
        strange.subscription.user_data = Some(Bytes::from_static(hostile));
        let members = [strange, holder("c2", &["t"], 1, "t-0")];
        assert_eq!(assigned(&[("t", 2)], &members), "c1: t-1 | c2: t-0", "{hostile:x?}");
    }
}

#[test]
fn a_claim_to_a_negative_partition_is_nothing() {
    let members = [holder("c1", &["t"], 1, "t-0"), {
        let mut strange = member("c2", &["t"]);
        let last = LastAssignment {
            generation_id: i32::MIN,
            partitions: vec![TopicPartition::new("t", -1), TopicPartition::new("t", i32::MAX)],
        };
        strange.subscription.user_data = StickyAssignor.user_data(Some(&last));
        strange
    }];
    assert_eq!(assigned(&[("t", 2)], &members), "c1: t-0 | c2: t-1");
}
