//! What answers do to the cache.

use engine_wire::messages::StrBytes;
use engine_wire::messages::{BrokerId, TopicName, metadata_response::MetadataResponseBroker};

use super::*;

fn broker(node_id: i32) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(BrokerId(node_id))
        .with_host(StrBytes::from_static_str("localhost"))
        .with_port(9000 + node_id)
}

fn partition(index: i32, leader_id: i32, leader_epoch: i32) -> MetadataResponsePartition {
    MetadataResponsePartition::default()
        .with_partition_index(index)
        .with_leader_id(BrokerId(leader_id))
        .with_leader_epoch(leader_epoch)
}

fn topic(topic_id: u128, partitions: Vec<MetadataResponsePartition>) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("orders"))))
        .with_topic_id(Uuid::from_u128(topic_id))
        .with_partitions(partitions)
}

fn answer(topic: MetadataResponseTopic) -> MetadataResponse {
    MetadataResponse::default()
        .with_brokers(vec![broker(1), broker(2)])
        .with_controller_id(BrokerId(1))
        .with_topics(vec![topic])
}

fn leader(node_id: i32, leader_epoch: i32) -> Option<Leader> {
    Some(Leader { node_id, leader_epoch })
}

#[test]
fn leaders_and_ids_are_found_by_name() {
    let mut cluster = ClusterMetadata::default();
    cluster.apply(&answer(topic(7, vec![partition(1, 2, 5), partition(0, 1, 3)])));
    assert_eq!(cluster.leader_for("orders", 0), leader(1, 3));
    assert_eq!(cluster.leader_for("orders", 1), leader(2, 5));
    assert_eq!(cluster.leader_for("orders", 2), None);
    assert_eq!(cluster.leader_for("orders", -1), None);
    assert_eq!(cluster.topic_id("orders"), Some(Uuid::from_u128(7)));
    assert_eq!(cluster.partition_count("orders"), Some(2));
    assert_eq!(cluster.partition_count("unknown"), None);
}

#[test]
fn a_stale_leader_epoch_does_not_move_a_partition_back() {
    let mut cluster = ClusterMetadata::default();
    cluster.apply(&answer(topic(7, vec![partition(0, 2, 5)])));
    cluster.apply(&answer(topic(7, vec![partition(0, 1, 4)])));
    assert_eq!(cluster.leader_for("orders", 0), leader(2, 5));
    cluster.apply(&answer(topic(7, vec![partition(0, 1, 6)])));
    assert_eq!(cluster.leader_for("orders", 0), leader(1, 6));
}

/// Pitfall 13: epochs count within one topic, not within its name.
#[test]
fn a_recreated_topic_starts_again_at_its_low_epochs() {
    let mut cluster = ClusterMetadata::default();
    cluster.apply(&answer(topic(7, vec![partition(0, 2, 5), partition(1, 2, 5)])));
    cluster.apply(&answer(topic(8, vec![partition(0, 1, 0)])));
    assert_eq!(cluster.leader_for("orders", 0), leader(1, 0));
    assert_eq!(cluster.partition_count("orders"), Some(1));
    assert_eq!(cluster.topic_id("orders"), Some(Uuid::from_u128(8)));
}

#[test]
fn a_broker_that_still_tells_the_former_id_is_not_believed_at_once_and_not_doubted_for_ever() {
    let mut cluster = ClusterMetadata::default();
    let former = answer(topic(7, vec![partition(0, 2, 5)]));
    let current = answer(topic(8, vec![partition(0, 1, 0)]));
    cluster.apply(&former);
    cluster.apply(&current);
    for _ in 0..3 {
        cluster.apply(&former);
        assert_eq!(cluster.topic_id("orders"), Some(Uuid::from_u128(8)));
        assert_eq!(cluster.leader_for("orders", 0), leader(1, 0));
        cluster.apply(&current);
    }
    // What lagged may have been the answer that we believe.
    cluster.apply(&former);
    cluster.apply(&former);
    assert_eq!(cluster.topic_id("orders"), Some(Uuid::from_u128(7)));
    assert_eq!(cluster.leader_for("orders", 0), leader(2, 5));
}

#[test]
fn a_hint_about_the_old_topic_does_not_raise_the_new_ones_epoch() {
    let mut cluster = ClusterMetadata::default();
    let hint = Leader {
        node_id: 2,
        leader_epoch: 6,
    };
    cluster.apply(&answer(topic(8, vec![partition(0, 1, 0)])));
    cluster.apply_leader("orders", Some(Uuid::from_u128(7)), 0, hint);
    assert_eq!(cluster.leader_for("orders", 0), leader(1, 0));
    cluster.apply_leader("orders", Some(Uuid::from_u128(8)), 0, hint);
    assert_eq!(cluster.leader_for("orders", 0), leader(2, 6));
}

/// Pitfall 6: a broker that restarts does not know its topics yet.
#[test]
fn a_topic_that_is_missing_for_a_moment_keeps_its_partitions() {
    let mut cluster = ClusterMetadata::default();
    cluster.apply(&answer(topic(7, vec![partition(0, 2, 5)])));
    let missing = topic(0, vec![]).with_error_code(3);
    cluster.apply(&answer(missing));
    assert_eq!(cluster.leader_for("orders", 0), leader(2, 5));
    assert_eq!(
        cluster.topic("orders").unwrap().error,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    cluster.apply(&answer(topic(7, vec![partition(0, 2, 5)])));
    assert_eq!(cluster.topic("orders").unwrap().error, ErrorCode::NONE);
}

#[test]
fn a_partition_without_leader_has_none_until_one_is_elected() {
    let mut cluster = ClusterMetadata::default();
    cluster.apply(&answer(topic(7, vec![partition(0, -1, 5).with_error_code(5)])));
    assert_eq!(cluster.leader_for("orders", 0), None);
    cluster.apply(&answer(topic(7, vec![partition(0, 1, 6)])));
    assert_eq!(cluster.leader_for("orders", 0), leader(1, 6));
}

#[test]
fn a_leader_without_a_known_address_cannot_be_used() {
    let mut cluster = ClusterMetadata::default();
    cluster.apply(&answer(topic(7, vec![partition(0, 9, 5)])));
    assert_eq!(cluster.leader_for("orders", 0), None);
}

#[test]
fn hints_from_produce_answers_only_move_forward() {
    let mut cluster = ClusterMetadata::default();
    cluster.apply(&answer(topic(7, vec![partition(0, 2, 5)])));
    let hint = |node_id, leader_epoch| Leader { node_id, leader_epoch };
    cluster.apply_leader("orders", None, 0, hint(1, 5));
    assert_eq!(cluster.leader_for("orders", 0), leader(2, 5));
    cluster.apply_leader("orders", None, 0, hint(1, 6));
    assert_eq!(cluster.leader_for("orders", 0), leader(1, 6));
    cluster.apply_leader("orders", None, 0, hint(99, 7)); // Nobody knows its address.
    assert_eq!(cluster.leader_for("orders", 0), leader(1, 6));
    cluster.apply_leader("orders", None, 99, hint(1, 6));
    cluster.apply_leader("unknown", None, 0, hint(1, 6));
}

/// Pitfall 19: gaps, duplicates and negative numbers in metadata.
#[test]
fn hostile_answers_leave_the_cache_as_it_was() {
    let mut cluster = ClusterMetadata::default();
    cluster.apply(&answer(topic(7, vec![partition(0, 2, 5)])));
    for partitions in [
        vec![partition(-1, 1, 6)],
        vec![partition(1, 1, 6)],
        vec![partition(0, 1, 6), partition(0, 1, 6)],
        vec![partition(i32::MAX, 1, 6)],
    ] {
        cluster.apply(&answer(topic(7, partitions)));
        assert_eq!(cluster.leader_for("orders", 0), leader(2, 5));
    }
    let nobody = MetadataResponse::default().with_brokers(vec![]);
    cluster.apply(&nobody);
    assert_eq!(cluster.brokers().count(), 2);
    let bad_port = answer(topic(7, vec![])).with_brokers(vec![broker(1).with_port(-5)]);
    cluster.apply(&bad_port);
    assert_eq!(cluster.brokers().count(), 0);
}

#[test]
fn a_broker_that_gives_no_ids_does_not_make_a_topic_forget_its_own() {
    let mut cluster = ClusterMetadata::default();
    cluster.apply(&answer(topic(7, vec![partition(0, 2, 5)])));
    cluster.apply(&answer(topic(0, vec![partition(0, 2, 5)])));
    assert_eq!(cluster.topic_id("orders"), Some(Uuid::from_u128(7)));
    cluster.apply(&answer(topic(8, vec![partition(0, 1, 0)])));
    assert_eq!(
        cluster.leader_for("orders", 0),
        leader(1, 0),
        "created anew all the same"
    );
}

#[test]
fn a_topic_that_an_answer_for_all_leaves_out_is_missing_and_then_forgotten() {
    let mut cluster = ClusterMetadata::default();
    cluster.apply_all(&answer(topic(7, vec![partition(0, 2, 5)])));
    let mut nothing = answer(topic(7, vec![]));
    nothing.topics.clear();
    cluster.apply(&nothing);
    assert_eq!(cluster.topic("orders").unwrap().error, ErrorCode::NONE, "not asked for");
    cluster.apply_all(&nothing);
    assert_eq!(
        cluster.topic("orders").unwrap().error,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(cluster.leader_for("orders", 0), leader(2, 5), "it may come back");
    cluster.apply_all(&nothing);
    assert!(cluster.topic("orders").is_none());
}
