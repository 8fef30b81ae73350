//! Answers about the cluster, as odd as can be, and what the cache makes of them.

use std::collections::HashMap;

use engine_proto::cluster::{ClusterMetadata, Leader};
use engine_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use engine_wire::messages::{BrokerId, MetadataResponse, StrBytes, TopicName};
use protocol_tests::fuzzing::{Source, fuzz};
use uuid::Uuid;

use super::alone;

pub(crate) const TOPICS: [&str; 3] = ["orders", "views", ""];

/// An answer: honest for the most part.
pub(crate) fn answer(source: &mut Source<'_>) -> MetadataResponse {
    let brokers = (0..source.below(4)).map(|_| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(source.int32()))
            .with_host(StrBytes::from_static_str(source.pick(&["localhost", "", "::1", "a b"])))
            .with_port(source.int32())
    });
    let brokers = brokers.collect();
    let topics = (0..source.below(4)).map(|_| {
        let count = source.below(5) as i32;
        let partitions = (0..count).map(|index| {
            let index = if source.once_in(10) { source.int32() } else { index };
            MetadataResponsePartition::default()
                .with_error_code(source.error_code())
                .with_partition_index(index)
                .with_leader_id(BrokerId(source.int32()))
                .with_leader_epoch(source.int32())
        });
        let partitions = partitions.collect();
        let name = TopicName(StrBytes::from_static_str(source.pick(&TOPICS)));
        MetadataResponseTopic::default()
            .with_error_code(source.error_code())
            .with_name((!source.once_in(20)).then_some(name))
            .with_topic_id(Uuid::from_u128(source.below(3) as u128))
            .with_partitions(partitions)
    });
    let topics = topics.collect();
    MetadataResponse::default()
        .with_brokers(brokers)
        .with_controller_id(BrokerId(source.int32()))
        .with_topics(topics)
}

#[test]
fn metadata() {
    let _alone = alone();
    fuzz("metadata", vec![vec![3; 60], (0..200).collect()], 10_000, |input| {
        let mut source = Source::new(input);
        let mut metadata = ClusterMetadata::default();
        let mut outcome = String::new();
        let mut known: HashMap<&str, (Option<Uuid>, usize)> = HashMap::new();
        while !source.is_used_up() {
            let mut named = Vec::new();
            match source.below(8) {
                0 => {
                    let leader = Leader {
                        node_id: source.int32(),
                        leader_epoch: source.int32(),
                    };
                    let topic_id = source.once_in(2).then(|| Uuid::from_u128(source.below(3) as u128));
                    metadata.apply_leader(source.pick(&TOPICS), topic_id, source.int32(), leader);
                }
                1 => {
                    let answer = answer(&mut source);
                    named = names(&answer);
                    metadata.apply_all(&answer);
                }
                2 => metadata.remove_topic(source.pick(&TOPICS)),
                _ => {
                    let answer = answer(&mut source);
                    named = names(&answer);
                    metadata.apply(&answer);
                }
            }
            for name in TOPICS {
                let Some(topic) = metadata.topic(name) else {
                    known.remove(name);
                    continue;
                };
                let now = (topic.topic_id, topic.partitions.len());
                if let Some(before) = known.insert(name, now)
                    && before.0 == now.0
                    // Told twice in one answer, it may have been another topic in between.
                    && named.iter().filter(|named| *named == name).count() < 2
                {
                    assert!(before.1 <= now.1, "{name} lost partitions");
                }
                for index in -1..=now.1 as i32 {
                    if let Some(leader) = metadata.leader_for(name, index) {
                        assert!(metadata.broker(leader.node_id).is_some(), "a leader without an address");
                        outcome.push('l');
                    }
                }
                outcome += &format!("{:?};", topic.error);
            }
            assert!(metadata.brokers().all(|broker| broker.node_id >= 0));
        }
        outcome
    });
}

fn names(answer: &MetadataResponse) -> Vec<String> {
    let names = answer.topics.iter().filter_map(|topic| topic.name.as_ref());
    names.map(|name| name.to_string()).collect()
}
