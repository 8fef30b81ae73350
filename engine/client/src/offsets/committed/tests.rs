//! Answers of OffsetFetch: what is an offset, what is none, and what says nothing.

use engine_wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};

use super::*;

const GROUP: &str = "readers";

fn asked() -> Vec<TopicPartition> {
    vec![TopicPartition::new("orders", 0), TopicPartition::new("orders", 1)]
}

/// As from version 8 on.
fn by_group(group: &str, offsets: &[(i32, i64)]) -> OffsetFetchResponse {
    let partitions = offsets.iter().map(|(index, offset)| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
    });
    let topic = OffsetFetchResponseTopics::default()
        .with_name(topic_name("orders"))
        .with_partitions(partitions.collect());
    let group = OffsetFetchResponseGroup::default()
        .with_group_id(StrBytes::from_string(group.to_owned()).into())
        .with_topics(vec![topic]);
    OffsetFetchResponse::default().with_groups(vec![group])
}

/// As before version 8.
fn alone(offsets: &[(i32, i64)]) -> OffsetFetchResponse {
    let partitions = offsets.iter().map(|(index, offset)| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
    });
    let topic = OffsetFetchResponseTopic::default()
        .with_name(topic_name("orders"))
        .with_partitions(partitions.collect());
    OffsetFetchResponse::default().with_topics(vec![topic])
}

fn offsets(committed: Committed) -> Vec<Option<i64>> {
    let offset = |(_, committed): (_, Option<CommittedOffset>)| committed.map(|committed| committed.offset);
    committed.into_iter().map(offset).collect()
}

#[test]
fn minus_one_is_no_offset_and_the_order_is_that_of_the_question() {
    for response in [by_group(GROUP, &[(1, -1), (0, 7)]), alone(&[(1, -1), (0, 7)])] {
        let committed = committed_of(GROUP, Some(&asked()), response).unwrap();
        assert_eq!(offsets(committed), [Some(7), None]);
    }
    let twice = [asked(), asked()].concat();
    let committed = committed_of(GROUP, Some(&twice), alone(&[(0, 7), (1, 8)])).unwrap();
    assert_eq!(offsets(committed), [Some(7), Some(8), Some(7), Some(8)]);
}

/// Pitfall 19: taken for a partition that nobody committed, it would be read from wherever `auto.offset.reset` says.
#[test]
fn what_an_answer_leaves_out_is_not_taken_for_a_partition_without_offset() {
    for response in [
        by_group(GROUP, &[(0, 7)]),
        by_group("nobody's", &[(0, 7), (1, 8)]),
        by_group(GROUP, &[(0, 7), (1, -7)]),
        alone(&[(0, 7)]),
        OffsetFetchResponse::default(),
    ] {
        let told = committed_of(GROUP, Some(&asked()), response.clone());
        assert!(
            matches!(told, Err(OffsetsError::NotTold { .. })),
            "{response:?}: {told:?}"
        );
    }
}

#[test]
fn a_group_that_nobody_knows_has_committed_nothing() {
    let mut response = by_group(GROUP, &[]);
    response.groups[0].error_code = ErrorCode::GROUP_ID_NOT_FOUND.code();
    let committed = committed_of(GROUP, Some(&asked()), response).unwrap();
    assert_eq!(offsets(committed), [None, None]);
}
