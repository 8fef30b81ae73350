//! TxnOffsetCommit: a group's positions, kept until the producer's transaction ends (KIP-98, KIP-447).

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use engine_wire::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use engine_wire::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use crate::api::offset_commit::check_offset;
use crate::exchange::Asker;
use crate::group::Group;
use crate::group::offsets::CommittedOffset;
use crate::journal::fact::Fact;
use crate::node::Node;
use crate::transaction::{Part, Producer};

/// First version that knows TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 4;
/// First version that adds the group to the transaction by itself (KIP-890).
const JOINS: i16 = 5;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let producer = Producer {
        producer_id: request.producer_id.0,
        producer_epoch: request.producer_epoch,
    };
    let accepted = accepted(node, &request);
    let group = Part::Group(&request.group_id);
    let (joins, instance_id) = (asker.version >= JOINS, request.group_instance_id.as_deref());
    // The member first: what it may not do, does not begin a transaction either.
    let kept = node
        .coordinator
        .with(&request.group_id, |group| {
            group.check_transactional_commit(&request.member_id, instance_id, request.generation_id)
        })
        .and_then(|checked| checked)
        .and_then(|()| {
            node.within_transaction(&request.transactional_id, producer, group, joins, || {
                node.coordinator.with(&request.group_id, |group| {
                    group.check_transactional_commit(&request.member_id, instance_id, request.generation_id)?;
                    keep(node, &request.group_id, group, producer.producer_id, &accepted)
                })
            })
        })
        .and_then(|kept| kept)
        .and_then(|kept| kept);
    match kept {
        Ok(()) => respond(request.topics, |topic, partition| check(node, topic, partition)),
        Err(code) => {
            let code = match code {
                ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
                ErrorCode::INVALID_TXN_STATE if asker.version >= ABORTABLE => ErrorCode::TRANSACTION_ABORTABLE,
                code => code,
            };
            failed(asker, request, code)
        }
    }
}

pub(super) fn failed(_: Asker<'_>, request: TxnOffsetCommitRequest, code: ErrorCode) -> TxnOffsetCommitResponse {
    respond(request.topics, |_, _| code)
}

fn check(node: &Node, topic: &str, partition: &TxnOffsetCommitRequestPartition) -> ErrorCode {
    let metadata_size = partition
        .committed_metadata
        .as_ref()
        .map_or(0, |metadata| metadata.len());
    check_offset(node, topic, partition.partition_index, metadata_size)
}

fn accepted(node: &Node, request: &TxnOffsetCommitRequest) -> Vec<(String, i32, CommittedOffset)> {
    let mut accepted = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            if !check(node, &topic.name, partition).is_ok() {
                continue;
            }
            let metadata = partition.committed_metadata.as_ref();
            let offset = CommittedOffset {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: metadata.map(|metadata| metadata.to_string()).unwrap_or_default(),
            };
            accepted.push((topic.name.to_string(), partition.partition_index, offset));
        }
    }
    accepted
}

/// Journal first, as with any offset.
fn keep(
    node: &Node,
    group_id: &str,
    group: &mut Group,
    producer_id: i64,
    accepted: &[(String, i32, CommittedOffset)],
) -> Result<(), ErrorCode> {
    let fact = |(topic, partition, offset): &(String, i32, CommittedOffset)| Fact::PendingOffset {
        group: group_id.to_owned(),
        producer_id,
        topic: topic.clone(),
        partition: *partition,
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.clone(),
    };
    let facts: Vec<Fact> = accepted.iter().map(fact).collect();
    node.journal.record(&facts).map_err(|error| {
        node.storage_failed("record a transaction's offsets", &error);
        ErrorCode::COORDINATOR_NOT_AVAILABLE
    })?;
    for (topic, partition, offset) in accepted {
        group
            .offsets
            .put_pending(producer_id, topic, *partition, offset.clone());
    }
    Ok(())
}

fn respond(
    topics: Vec<TxnOffsetCommitRequestTopic>,
    code: impl Fn(&str, &TxnOffsetCommitRequestPartition) -> ErrorCode,
) -> TxnOffsetCommitResponse {
    let topic = |topic: TxnOffsetCommitRequestTopic| {
        let partition = |partition: &TxnOffsetCommitRequestPartition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code(&topic.name, partition).code())
        };
        let partitions = topic.partitions.iter().map(partition).collect();
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    };
    TxnOffsetCommitResponse::default().with_topics(topics.into_iter().map(topic).collect())
}
