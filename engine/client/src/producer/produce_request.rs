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
    produce::{PRODUCE_VERSIONS, ProducePartition, ProduceRequest, ProduceTopic, encode_produce_request},
    request::EncodeError,
};
use uuid::Uuid;

use crate::config::ProducerConfig;

/// From this version on topics are named by their ids only (KIP-516).
const FIRST_BY_TOPIC_ID: i16 = 13;

/// From this version on a batch brings its partition into the transaction (KIP-890).
const FIRST_JOINING: i16 = 12;

/// The versions that a plan may go out in. The version tells the broker whether a batch brings its partition into the
/// transaction (KIP-890), and whether topics go by their ids (KIP-516), which all of them must have then.
pub(super) fn versions(plan: &RequestPlan) -> ApiRange {
    let by_name_or_id = match plan.has_topic_ids() {
        true => *PRODUCE_VERSIONS.end(),
        false => FIRST_BY_TOPIC_ID - 1,
    };
    let (min, max) = match plan.transaction {
        None => (*PRODUCE_VERSIONS.start(), by_name_or_id),
        Some(TransactionProtocol::Explicit) => (*PRODUCE_VERSIONS.start(), FIRST_JOINING - 1),
        Some(TransactionProtocol::Implicit) => (FIRST_JOINING, by_name_or_id),
    };
    ApiRange { min, max }
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
                topic_id: batch.topic_id.map_or([0; 16], Uuid::into_bytes),
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
    /// If the request named the topic by it.
    pub(super) topic_id: Option<Uuid>,
    pub(super) partition: i32,
    pub(super) leader: Leader,
}

/// The topics that a request named by id, for its answer, which does so too.
#[derive(Debug, Default)]
pub(super) struct NamedById(HashMap<Uuid, Arc<str>>);

impl NamedById {
    /// Empty for a request that names topics by name.
    pub(super) fn of(plan: &RequestPlan, version: i16) -> Self {
        if version < FIRST_BY_TOPIC_ID {
            return Self::default();
        }
        let topics = plan.batches.iter().map(|batch| {
            let topic_id = batch.topic_id.expect("such a version is for plans with ids");
            (topic_id, Arc::clone(&batch.topic))
        });
        Self(topics.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the broker said about each partition, and which newer leaders it named. Topics that were not asked about
/// are left out.
pub(super) fn answers(response: ProduceResponse, named_by_id: &NamedById) -> (Vec<PartitionAnswer>, Vec<LeaderHint>) {
    let mut answers = Vec::new();
    let mut hints = Vec::new();
    for topic in response.responses {
        let name: Arc<str> = match named_by_id.0.get(&topic.topic_id) {
            Some(name) => Arc::clone(name),
            None if topic.topic_id.is_nil() => topic.name.0.as_str().into(),
            None => continue,
        };
        for partition in topic.partition_responses {
            let leader = Leader {
                node_id: partition.current_leader.leader_id.0,
                leader_epoch: partition.current_leader.leader_epoch,
            };
            if leader.node_id >= 0 && leader.leader_epoch >= 0 {
                hints.push(LeaderHint {
                    topic: Arc::clone(&name),
                    topic_id: Some(topic.topic_id).filter(|topic_id| !topic_id.is_nil()),
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

#[cfg(test)]
mod tests {
    use engine_proto::producer::PlannedBatch;
    use engine_wire::{
        messages::produce_response::{LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse},
        request::EncodeError,
    };

    use super::*;

    fn plan(topic_ids: &[Option<u128>], transaction: Option<TransactionProtocol>) -> RequestPlan {
        let batches = topic_ids.iter().enumerate().map(|(index, topic_id)| PlannedBatch {
            topic: format!("topic-{index}").into(),
            topic_id: topic_id.map(Uuid::from_u128),
            partition: 3,
            records: Bytes::from_static(b"batch"),
        });
        RequestPlan {
            request_id: 1,
            node_id: 1,
            transaction,
            batches: batches.collect(),
        }
    }

    /// Pitfall 12: one topic without an id (Metadata before version 10) keeps the whole request to names.
    #[test]
    fn a_zero_topic_id_is_never_sent() {
        use TransactionProtocol::{Explicit, Implicit};
        let (all, some) = (&[Some(7), Some(8)][..], &[Some(7), None][..]);
        for (topic_ids, transaction, min, max) in [
            (all, None, 3, 13),
            (some, None, 3, 12),
            (all, Some(Explicit), 3, 11),
            (some, Some(Explicit), 3, 11),
            (all, Some(Implicit), 12, 13),
            (some, Some(Implicit), 12, 12),
        ] {
            let versions = versions(&plan(topic_ids, transaction));
            assert_eq!(versions, ApiRange { min, max }, "{topic_ids:?} {transaction:?}");
        }
        let config = ProducerConfig::default();
        encode(&plan(all, None), 13, 1, &config).expect("has ids");
        let refused = encode(&plan(some, None), 13, 1, &config).unwrap_err();
        assert!(matches!(refused, EncodeError::Field { .. }), "{refused}");
    }

    #[test]
    fn answers_by_id_are_told_by_name_and_those_nobody_asked_for_are_left_out() {
        let response = |topic_id| {
            let partition = PartitionProduceResponse::default()
                .with_index(3)
                .with_error_code(6)
                .with_current_leader(
                    LeaderIdAndEpoch::default()
                        .with_leader_id(2.into())
                        .with_leader_epoch(9),
                );
            TopicProduceResponse::default()
                .with_topic_id(Uuid::from_u128(topic_id))
                .with_partition_responses(vec![partition])
        };
        let plan = plan(&[Some(7), Some(8)], None);
        let response = ProduceResponse::default().with_responses(vec![response(8), response(9), response(7)]);
        let (told, hints) = answers(response, &NamedById::of(&plan, 13));
        let names: Vec<&str> = told.iter().map(|answer| &*answer.topic).collect();
        assert_eq!(names, ["topic-1", "topic-0"]);
        let ids: Vec<_> = hints.iter().map(|hint| hint.topic_id).collect();
        assert_eq!(ids, [Some(Uuid::from_u128(8)), Some(Uuid::from_u128(7))]);
        assert!(NamedById::of(&plan, 12).is_empty());
    }
}
