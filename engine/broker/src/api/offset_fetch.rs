//! OffsetFetch: what groups have committed; several groups at once from version 8 on (KIP-709).
//!
//! `require_stable` (KIP-447) asks not to be told an offset that an open transaction is about to change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use engine_wire::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, StrBytes, TopicName};

use crate::exchange::Asker;
use crate::group::Group;
use crate::group::offsets::CommittedOffset;
use crate::node::Node;

/// Topics and partitions that are asked for; `None` is all that the group has.
type Asked = Option<Vec<(TopicName, Vec<i32>)>>;
/// What was committed for a partition, if anything, or why that is not told.
type Position = Result<Option<CommittedOffset>, ErrorCode>;
/// All that are found, by topic.
type Committed = Vec<(TopicName, Vec<(i32, Position)>)>;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let require_stable = request.require_stable;
    respond(asker, request, |group_id, asked| {
        (ErrorCode::NONE, find(node, group_id, asked, require_stable))
    })
}

pub(super) fn failed(asker: Asker<'_>, request: OffsetFetchRequest, code: ErrorCode) -> OffsetFetchResponse {
    respond(asker, request, |_, asked| {
        let nothing = |partitions: Vec<i32>| partitions.into_iter().map(|partition| (partition, Ok(None))).collect();
        let topics = asked.unwrap_or_default().into_iter();
        (
            code,
            topics.map(|(topic, partitions)| (topic, nothing(partitions))).collect(),
        )
    })
}

fn find(node: &Node, group_id: &str, asked: Asked, require_stable: bool) -> Committed {
    let found = node.coordinator.with_existing(group_id, |group| {
        let asked = asked.as_ref().map_or_else(|| all(group, require_stable), Clone::clone);
        let position = |topic: &str, partition: i32| match require_stable && group.offsets.is_pending(topic, partition)
        {
            true => Err(ErrorCode::UNSTABLE_OFFSET_COMMIT),
            false => Ok(group.offsets.find(topic, partition).cloned()),
        };
        positions(asked, position)
    });
    found.unwrap_or_else(|| positions(asked.unwrap_or_default(), |_, _| Ok(None)))
}

/// Every partition that a group has committed; with `require_stable`, or is about to.
fn all(group: &Group, require_stable: bool) -> Vec<(TopicName, Vec<i32>)> {
    let mut all: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for (topic, partitions) in group.offsets.topics() {
        all.entry(topic).or_default().extend(partitions.keys());
    }
    for (topic, partition) in group.offsets.pending().filter(|_| require_stable) {
        all.entry(topic).or_default().insert(partition);
    }
    let topic = |(topic, partitions): (&str, BTreeSet<i32>)| {
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        (name, partitions.into_iter().collect())
    };
    all.into_iter().map(topic).collect()
}

fn positions(asked: Vec<(TopicName, Vec<i32>)>, position: impl Fn(&str, i32) -> Position) -> Committed {
    let topic = |(topic, partitions): (TopicName, Vec<i32>)| {
        let of_topic = partitions
            .into_iter()
            .map(|partition| (partition, position(&topic, partition)));
        let of_topic = of_topic.collect();
        (topic, of_topic)
    };
    asked.into_iter().map(topic).collect()
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
    partitions: Vec<(i32, Position)>,
    code: ErrorCode,
) -> OffsetFetchResponseTopic {
    let partition = |(index, position): (i32, Position)| {
        let (committed, code) = told(position, code);
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

fn topic_of_group(topic: TopicName, partitions: Vec<(i32, Position)>) -> OffsetFetchResponseTopics {
    let partition = |(index, position): (i32, Position)| {
        let (committed, code) = told(position, ErrorCode::NONE);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(committed.offset)
            .with_committed_leader_epoch(committed.leader_epoch)
            .with_metadata(Some(StrBytes::from_string(committed.metadata)))
            .with_error_code(code.code())
    };
    let partitions = partitions.into_iter().map(partition).collect();
    OffsetFetchResponseTopics::default()
        .with_name(topic)
        .with_partitions(partitions)
}

/// As it goes into the answer; `code` unless the position has one of its own.
fn told(position: Position, code: ErrorCode) -> (CommittedOffset, ErrorCode) {
    match position {
        Ok(committed) => (committed.unwrap_or(NOTHING_COMMITTED), code),
        Err(own) => (NOTHING_COMMITTED, own),
    }
}

const NOTHING_COMMITTED: CommittedOffset = CommittedOffset {
    offset: -1,
    leader_epoch: -1,
    metadata: String::new(),
};
