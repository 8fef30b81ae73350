//! Metadata: this one broker, and the partitions it leads. Creates topics on first use.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::metadata_request::MetadataRequestTopic;
use engine_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use engine_wire::messages::{BrokerId, MetadataRequest, MetadataResponse, StrBytes, TopicName};
use uuid::Uuid;

use crate::exchange::Asker;
use crate::node::Node;
use crate::topic::Topic;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: MetadataRequest) -> MetadataResponse {
    let may_create = node.config.auto_create_topics && (asker.version < 4 || request.allow_auto_topic_creation);
    let topics = match request.topics {
        // Version 0 has no null: it asks for all topics with an empty list.
        Some(topics) if asker.version > 0 || !topics.is_empty() => topics
            .into_iter()
            .map(|wanted| find(node, wanted, may_create))
            .collect(),
        _ => node.topics.all().iter().map(|topic| describe(node, topic)).collect(),
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(node.config.node_id))
        .with_host(StrBytes::from_string(node.host.clone()))
        .with_port(i32::from(node.port));
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_string(node.cluster_id.clone())))
        .with_controller_id(BrokerId(node.config.node_id))
        .with_topics(topics)
}

pub(super) fn failed(_: Asker<'_>, request: MetadataRequest, code: ErrorCode) -> MetadataResponse {
    if code == ErrorCode::REBOOTSTRAP_REQUIRED {
        return MetadataResponse::default().with_error_code(code.code()); // The one that is about no topic.
    }
    let fail = |wanted: MetadataRequestTopic| missing(wanted.name.unwrap_or_default(), wanted.topic_id, code);
    let topics = request.topics.unwrap_or_default();
    MetadataResponse::default().with_topics(topics.into_iter().map(fail).collect())
}

fn find(node: &Node, wanted: MetadataRequestTopic, may_create: bool) -> MetadataResponseTopic {
    let Some(name) = wanted.name else {
        return match node.topics.find_by_id(wanted.topic_id) {
            Some(topic) => describe(node, &topic),
            None => MetadataResponseTopic::default()
                .with_error_code(ErrorCode::UNKNOWN_TOPIC_ID.code())
                .with_topic_id(wanted.topic_id),
        };
    };
    if let Some(topic) = node.topics.find(&name) {
        return describe(node, &topic);
    }
    let code = match may_create {
        false if !crate::topic::is_valid_name(&name) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        true => match node.create_topic(&name, node.config.default_partitions, BTreeMap::new()) {
            Ok(topic) => return describe(node, &topic),
            Err((code, _)) => match node.topics.find(&name) {
                Some(topic) => return describe(node, &topic), // Created by somebody else at the same moment.
                None => code,
            },
        },
    };
    missing(name, Uuid::nil(), code)
}

fn missing(name: TopicName, topic_id: Uuid, code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(name))
        .with_topic_id(topic_id)
}

fn describe(node: &Node, topic: &Topic) -> MetadataResponseTopic {
    let this = BrokerId(node.config.node_id);
    let partition = |partition: &Arc<crate::partition::Partition>| {
        MetadataResponsePartition::default()
            .with_partition_index(partition.index)
            .with_leader_id(this)
            .with_leader_epoch(partition.leader_epoch())
            .with_replica_nodes(vec![this])
            .with_isr_nodes(vec![this])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.to_string()))))
        .with_topic_id(topic.id)
        .with_partitions(topic.partitions().iter().map(partition).collect())
}
