//! OffsetCommit: a group's positions, kept and (on disk) journalled before they are acknowledged.

use std::sync::Arc;
use std::time::Instant;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use engine_wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use engine_wire::messages::{OffsetCommitRequest, OffsetCommitResponse};

use crate::exchange::Asker;
use crate::group::Group;
use crate::group::offsets::CommittedOffset;
use crate::journal::fact::Fact;
use crate::node::Node;

/// The journal's strings hold 64 KiB, whatever is configured.
const METADATA_BYTES_MAX: usize = 32 << 10;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, mut request: OffsetCommitRequest) -> OffsetCommitResponse {
    let topics = std::mem::take(&mut request.topics);
    let mut checked: Vec<(OffsetCommitRequestTopic, Vec<ErrorCode>)> = Vec::with_capacity(topics.len());
    for topic in topics {
        let codes = topic
            .partitions
            .iter()
            .map(|wanted| check(node, &topic, wanted))
            .collect();
        checked.push((topic, codes));
    }
    let instance_id = request.group_instance_id.as_deref();
    let generation_id = request.generation_id_or_member_epoch;
    let committed = node.coordinator.with(&request.group_id, |group| {
        group.check_commit(Instant::now(), &request.member_id, instance_id, generation_id)?;
        commit(node, &request.group_id, group, &checked)
    });
    match committed.and_then(|committed| committed) {
        Ok(()) => respond(checked),
        Err(code) => {
            let topics = checked.into_iter().map(|(topic, _)| topic).collect();
            failed(asker, request.with_topics(topics), code)
        }
    }
}

pub(super) fn failed(_: Asker<'_>, request: OffsetCommitRequest, code: ErrorCode) -> OffsetCommitResponse {
    let fail = |topic: OffsetCommitRequestTopic| {
        let codes = vec![code; topic.partitions.len()];
        (topic, codes)
    };
    respond(request.topics.into_iter().map(fail).collect())
}

fn check(node: &Node, topic: &OffsetCommitRequestTopic, wanted: &OffsetCommitRequestPartition) -> ErrorCode {
    let metadata_size = wanted.committed_metadata.as_ref().map_or(0, |metadata| metadata.len());
    check_offset(node, &topic.name, wanted.partition_index, metadata_size)
}

/// Whether an offset of this partition may be kept, with metadata of this size.
pub(super) fn check_offset(node: &Node, topic: &str, partition: i32, metadata_size: usize) -> ErrorCode {
    if metadata_size > node.config.offset_metadata_bytes_max.min(METADATA_BYTES_MAX) {
        return ErrorCode::OFFSET_METADATA_TOO_LARGE;
    }
    match node.topics.find(topic).and_then(|topic| topic.partition(partition)) {
        Some(_) => ErrorCode::NONE,
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    }
}

/// Journal first: what was acknowledged is known after a restart.
fn commit(
    node: &Node,
    group_id: &str,
    group: &mut Group,
    checked: &[(OffsetCommitRequestTopic, Vec<ErrorCode>)],
) -> Result<(), ErrorCode> {
    let accepted = checked.iter().flat_map(|(topic, codes)| {
        let accepted = topic.partitions.iter().zip(codes).filter(|(_, code)| code.is_ok());
        accepted.map(|(partition, _)| (topic.name.as_str(), partition))
    });
    let metadata = |partition: &OffsetCommitRequestPartition| {
        partition
            .committed_metadata
            .as_ref()
            .map(|metadata| metadata.to_string())
            .unwrap_or_default()
    };
    let fact = |(topic, partition): (&str, &OffsetCommitRequestPartition)| Fact::Committed {
        group: group_id.to_owned(),
        topic: topic.to_owned(),
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: metadata(partition),
    };
    let facts: Vec<Fact> = accepted.clone().map(fact).collect();
    node.journal.record(&facts).map_err(|error| {
        node.storage_failed("record committed offsets", &error);
        ErrorCode::UNKNOWN_SERVER_ERROR
    })?;
    for (topic, partition) in accepted {
        let committed = CommittedOffset {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: metadata(partition),
        };
        group.offsets.put(topic, partition.partition_index, committed);
    }
    Ok(())
}

fn respond(checked: Vec<(OffsetCommitRequestTopic, Vec<ErrorCode>)>) -> OffsetCommitResponse {
    let topic = |(topic, codes): (OffsetCommitRequestTopic, Vec<ErrorCode>)| {
        let partition = |(wanted, code): (&OffsetCommitRequestPartition, ErrorCode)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(wanted.partition_index)
                .with_error_code(code.code())
        };
        let partitions = topic.partitions.iter().zip(codes).map(partition).collect();
        OffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    };
    OffsetCommitResponse::default().with_topics(checked.into_iter().map(topic).collect())
}
