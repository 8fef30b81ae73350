//! OffsetFetch: what groups have committed; several groups at once from version 8 on (KIP-709).
//!
//! `require_stable` (KIP-447) asks to wait for offsets of open transactions; there never are any.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use engine_wire::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, StrBytes, TopicName};

use crate::exchange::Asker;
use crate::group::offsets::CommittedOffset;
use crate::node::Node;

/// Topics and partitions that are asked for; `None` is all that the group has.
type Asked = Option<Vec<(TopicName, Vec<i32>)>>;
/// Per partition what was committed, if anything.
type Committed = Vec<(TopicName, Vec<(i32, Option<CommittedOffset>)>)>;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    respond(asker, request, |group_id, asked| {
        (ErrorCode::NONE, find(node, group_id, asked))
    })
}

pub(super) fn failed(asker: Asker<'_>, request: OffsetFetchRequest, code: ErrorCode) -> OffsetFetchResponse {
    respond(asker, request, |_, asked| {
        let nothing = |partitions: Vec<i32>| partitions.into_iter().map(|partition| (partition, None)).collect();
        let topics = asked.unwrap_or_default().into_iter();
        (
            code,
            topics.map(|(topic, partitions)| (topic, nothing(partitions))).collect(),
        )
    })
}

fn find(node: &Node, group_id: &str, asked: Asked) -> Committed {
    let Some(topics) = asked else {
        let all = node.coordinator.with_existing(group_id, |group| {
            let topic = |name: &str| TopicName(StrBytes::from_string(name.to_owned()));
            let all = group.offsets.topics().map(|(name, partitions)| {
                let all = partitions
                    .iter()
                    .map(|(partition, committed)| (*partition, Some(committed.clone())));
                (topic(name), all.collect())
            });
            all.collect()
        });
        return all.unwrap_or_default();
    };
    let find = |topic: &str, partition: i32| {
        let found = node
            .coordinator
            .with_existing(group_id, |group| group.offsets.find(topic, partition).cloned());
        (partition, found.flatten())
    };
    let topic = |(topic, partitions): (TopicName, Vec<i32>)| {
        let found = partitions
            .into_iter()
            .map(|partition| find(&topic, partition))
            .collect();
        (topic, found)
    };
    topics.into_iter().map(topic).collect()
}

fn respond(
    asker: Asker<'_>,
    request: OffsetFetchRequest,
    find: impl Fn(&str, Asked) -> (ErrorCode, Committed),
) -> OffsetFetchResponse {
    if asker.version < 8 {
        let asked = request.topics.map(|topics| {
            topics
                .into_iter()
                .map(|topic| (topic.name, topic.partition_indexes))
                .collect::<Vec<_>>()
        });
        let (code, committed) = find(&request.group_id, asked);
        let topics = committed
            .into_iter()
            .map(|(topic, partitions)| old_topic(asker, topic, partitions, code));
        let response = OffsetFetchResponse::default().with_topics(topics.collect());
        return match asker.version {
            2.. => response.with_error_code(code.code()),
            _ => response,
        };
    }
    let group = |group_id: GroupId, asked: Asked| {
        let (code, committed) = find(&group_id, asked);
        let topics = committed
            .into_iter()
            .map(|(topic, partitions)| topic_of_group(topic, partitions));
        OffsetFetchResponseGroup::default()
            .with_group_id(group_id)
            .with_topics(topics.collect())
            .with_error_code(code.code())
    };
    let groups = request.groups.into_iter().map(|wanted| {
        let asked = wanted.topics.map(|topics| {
            topics
                .into_iter()
                .map(|topic| (topic.name, topic.partition_indexes))
                .collect::<Vec<_>>()
        });
        group(wanted.group_id, asked)
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

fn old_topic(
    asker: Asker<'_>,
    topic: TopicName,
    partitions: Vec<(i32, Option<CommittedOffset>)>,
    code: ErrorCode,
) -> OffsetFetchResponseTopic {
    let partition = |(index, committed): (i32, Option<CommittedOffset>)| {
        let committed = committed.unwrap_or(NOTHING_COMMITTED);
        let partition = OffsetFetchResponsePartition::default();
        let partition = match asker.version {
            5.. => partition.with_committed_leader_epoch(committed.leader_epoch),
            _ => partition,
        };
        partition
            .with_partition_index(index)
            .with_committed_offset(committed.offset)
            .with_metadata(Some(StrBytes::from_string(committed.metadata)))
            .with_error_code(code.code())
    };
    let partitions = partitions.into_iter().map(partition).collect();
    OffsetFetchResponseTopic::default()
        .with_name(topic)
        .with_partitions(partitions)
}

fn topic_of_group(topic: TopicName, partitions: Vec<(i32, Option<CommittedOffset>)>) -> OffsetFetchResponseTopics {
    let partition = |(index, committed): (i32, Option<CommittedOffset>)| {
        let committed = committed.unwrap_or(NOTHING_COMMITTED);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(committed.offset)
            .with_committed_leader_epoch(committed.leader_epoch)
            .with_metadata(Some(StrBytes::from_string(committed.metadata)))
    };
    let partitions = partitions.into_iter().map(partition).collect();
    OffsetFetchResponseTopics::default()
        .with_name(topic)
        .with_partitions(partitions)
}

const NOTHING_COMMITTED: CommittedOffset = CommittedOffset {
    offset: -1,
    leader_epoch: -1,
    metadata: String::new(),
};
