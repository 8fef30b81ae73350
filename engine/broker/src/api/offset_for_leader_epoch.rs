//! OffsetForLeaderEpoch (KIP-320): where a term of the leader ended, so that a consumer notices lost records.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use engine_wire::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use engine_wire::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::exchange::Asker;
use crate::node::Node;

pub(super) fn handle(
    node: &Arc<Node>,
    _: Asker<'_>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    respond(request, |topic, wanted| find(node, topic, wanted))
}

pub(super) fn failed(
    _: Asker<'_>,
    request: OffsetForLeaderEpochRequest,
    code: ErrorCode,
) -> OffsetForLeaderEpochResponse {
    respond(request, |_, _| Err(code))
}

fn respond(
    request: OffsetForLeaderEpochRequest,
    find: impl Fn(&str, &OffsetForLeaderPartition) -> Result<(i32, i64), ErrorCode>,
) -> OffsetForLeaderEpochResponse {
    let topic = |topic: OffsetForLeaderTopic| {
        let partition = |wanted: &OffsetForLeaderPartition| {
            let result = EpochEndOffset::default().with_partition(wanted.partition);
            match find(&topic.topic, wanted) {
                Ok((leader_epoch, end_offset)) => result.with_leader_epoch(leader_epoch).with_end_offset(end_offset),
                Err(code) => result
                    .with_error_code(code.code())
                    .with_leader_epoch(-1)
                    .with_end_offset(-1),
            }
        };
        let partitions = topic.partitions.iter().map(partition).collect();
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions)
    };
    OffsetForLeaderEpochResponse::default().with_topics(request.topics.into_iter().map(topic).collect())
}

/// -1 and -1 for a term that has not been yet.
fn find(node: &Node, topic: &str, wanted: &OffsetForLeaderPartition) -> Result<(i32, i64), ErrorCode> {
    let topic = node.topics.find(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic
        .partition(wanted.partition)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    partition.check_leader_epoch(wanted.current_leader_epoch)?;
    let end = partition.look(|log| log.end_offset_of_epoch(wanted.leader_epoch, partition.leader_epoch()));
    Ok(end.unwrap_or((-1, -1)))
}
