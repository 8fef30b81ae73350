//! Produce requests: a plan into segments, an answer into facts for the machine.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use engine_proto::{
    cluster::Leader,
    connection::ApiRange,
    producer::{PartitionAnswer, RequestPlan, TransactionProtocol},
};
use engine_wire::{
    error_code::ErrorCode,
    messages::ProduceResponse,
    produce::{ProducePartition, ProduceRequest, ProduceTopic, encode_produce_request},
    request::EncodeError,
};

use crate::config::ProducerConfig;

/// The versions that a plan may go out in; `None` is all. The version tells the broker whether a batch brings its partition
/// into the transaction (KIP-890).
pub(super) fn versions(plan: &RequestPlan) -> Option<ApiRange> {
    let (min, max) = match plan.transaction? {
        TransactionProtocol::Explicit => (3, 11),
        TransactionProtocol::Implicit => (12, 12),
    };
    Some(ApiRange { min, max })
}

/// The frame of a planned request; the batches are its segments, not copied.
pub(super) fn encode(
    plan: &RequestPlan,
    version: i16,
    correlation_id: i32,
    config: &ProducerConfig,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut topics: Vec<ProduceTopic<'_>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for batch in &plan.batches {
        let place = *places.entry(&batch.topic).or_insert_with(|| {
            topics.push(ProduceTopic {
                name: &batch.topic,
                topic_id: [0; 16],
                partitions: Vec::new(),
            });
            topics.len() - 1
        });
        topics[place].partitions.push(ProducePartition {
            index: batch.partition,
            records: batch.records.clone(),
        });
    }
    let request = ProduceRequest {
        transactional_id: plan.transaction.and(config.transactional_id.as_deref()),
        acks: config.acks.code(),
        timeout_ms: i32::try_from(config.client.request_timeout.as_millis()).unwrap_or(i32::MAX),
        topics,
    };
    encode_produce_request(version, correlation_id, Some(&config.client.client_id), &request)
}

/// A leader that an answer named because the asked broker is not it (KIP-951).
pub(super) struct LeaderHint {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) leader: Leader,
}

/// What the broker said about each partition, and which newer leaders it named.
pub(super) fn answers(response: ProduceResponse) -> (Vec<PartitionAnswer>, Vec<LeaderHint>) {
    let mut answers = Vec::new();
    let mut hints = Vec::new();
    for topic in response.responses {
        let name: Arc<str> = topic.name.0.as_str().into();
        for partition in topic.partition_responses {
            let leader = Leader {
                node_id: partition.current_leader.leader_id.0,
                leader_epoch: partition.current_leader.leader_epoch,
            };
            if leader.node_id >= 0 && leader.leader_epoch >= 0 {
                hints.push(LeaderHint {
                    topic: Arc::clone(&name),
                    partition: partition.index,
                    leader,
                });
            }
            answers.push(PartitionAnswer {
                topic: Arc::clone(&name),
                partition: partition.index,
                code: ErrorCode::from(partition.error_code),
                base_offset: partition.base_offset,
                log_append_time_ms: (partition.log_append_time_ms >= 0).then_some(partition.log_append_time_ms),
                message: partition.error_message.map(|message| message.as_str().to_owned()),
            });
        }
    }
    (answers, hints)
}
