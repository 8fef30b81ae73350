//! A transaction's requests to its coordinators, and the answers as facts for the machine.
//!
//! Never here: retries and what a code means (see `engine_proto::producer`).

use std::{collections::BTreeMap, sync::Arc};

use engine_proto::{
    TopicPartition,
    connection::ApiRange,
    producer::{
        OffsetsToCommit, TransactionAnswer, TransactionEnd, TransactionOutcome, TransactionProtocol, TransactionRequest,
    },
    sequence::ProducerIdentity,
};
use engine_wire::{
    error_code::ErrorCode,
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProducerId, Request,
        StrBytes, TopicName, TransactionalId, TxnOffsetCommitRequest,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
};
use tracing::debug;

use super::machine::Shared;
use crate::{
    cluster::{Lane, NodeTarget},
    connection::{RequestError, describe},
};

/// Carries one request out.
pub(super) async fn perform(shared: Arc<Shared>, request: TransactionRequest) -> TransactionOutcome {
    let call = Call {
        shared: &shared,
        id: shared.config.transactional_id.as_deref().unwrap_or_default(),
    };
    let group = match &request {
        TransactionRequest::CommitOffsets { offsets, .. } => Some(offsets.group.group_id.clone()),
        _ => None,
    };
    let outcome = match request {
        TransactionRequest::InitProducerId { identity } => call.init_producer_id(identity).await,
        TransactionRequest::AddPartitions { identity, partitions } => call.add_partitions(identity, &partitions).await,
        TransactionRequest::AddOffsets { identity, offsets } => call.add_offsets(identity, &offsets).await,
        TransactionRequest::CommitOffsets {
            identity,
            protocol,
            offsets,
        } => call.commit_offsets(identity, protocol, &offsets).await,
        TransactionRequest::EndTxn {
            identity,
            protocol,
            end,
        } => call.end(identity, protocol, end).await,
    };
    let has_moved = match &outcome {
        Ok(answer) => answer.codes.iter().any(|(_, code)| MOVED.contains(code)),
        Err(_) => true, // Perhaps: looking again costs little.
    };
    if has_moved {
        match group {
            Some(group) => shared.cluster.forget_coordinator(&group),
            None => shared.cluster.forget_transaction_coordinator(call.id),
        }
    }
    outcome.map_or_else(
        |error| {
            debug!(%error, "Transactional request failed.");
            let reason: Arc<str> = describe(&error).into();
            if error.is_retriable() {
                TransactionOutcome::Lost(reason)
            } else {
                TransactionOutcome::Impossible(reason)
            }
        },
        TransactionOutcome::Answered,
    )
}

/// Error codes, with the partition if they are a partition's.
type Codes = Vec<(Option<TopicPartition>, ErrorCode)>;

struct Call<'a> {
    shared: &'a Shared,
    /// `transactional.id`.
    id: &'a str,
}

impl Call<'_> {
    async fn init_producer_id(&self, identity: Option<ProducerIdentity>) -> Result<TransactionAnswer, RequestError> {
        let connection = self
            .shared
            .cluster
            .connection(self.coordinator(), Lane::Control)
            .await?;
        let transaction_version = connection.transaction_version();
        let timeout_ms = self.shared.config.transaction_timeout.as_millis();
        let identity = identity.unwrap_or(NOBODY);
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.transactional_id()))
            .with_transaction_timeout_ms(i32::try_from(timeout_ms).unwrap_or(i32::MAX))
            .with_producer_id(ProducerId(identity.producer_id))
            .with_producer_epoch(identity.producer_epoch);
        let answer = self.ask(self.coordinator(), INIT_PRODUCER_ID, request).await?;
        Ok(TransactionAnswer {
            codes: vec![(None, ErrorCode::from(answer.error_code))],
            identity: ProducerIdentity::named(answer.producer_id.0, answer.producer_epoch),
            transaction_version,
        })
    }

    async fn add_partitions(
        &self,
        identity: ProducerIdentity,
        partitions: &[TopicPartition],
    ) -> Result<TransactionAnswer, RequestError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for tp in partitions {
            topics.entry(&tp.topic).or_default().push(tp.partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            AddPartitionsToTxnTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions)
        });
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id())
            .with_v3_and_below_producer_id(ProducerId(identity.producer_id))
            .with_v3_and_below_producer_epoch(identity.producer_epoch)
            .with_v3_and_below_topics(topics.collect());
        let answer = self.ask(self.coordinator(), ADD_PARTITIONS, request).await?;
        let codes = answer.results_by_topic_v3_and_below.into_iter().flat_map(|topic| {
            let name: Arc<str> = topic.name.as_str().into();
            topic.results_by_partition.into_iter().map(move |partition| {
                let tp = TopicPartition::new(Arc::clone(&name), partition.partition_index);
                (Some(tp), ErrorCode::from(partition.partition_error_code))
            })
        });
        Ok(answered(complete(codes.collect(), partitions)))
    }

    async fn add_offsets(
        &self,
        identity: ProducerIdentity,
        offsets: &OffsetsToCommit,
    ) -> Result<TransactionAnswer, RequestError> {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(ProducerId(identity.producer_id))
            .with_producer_epoch(identity.producer_epoch)
            .with_group_id(StrBytes::from_string(offsets.group.group_id.clone()).into());
        let answer = self.ask(self.coordinator(), ADD_OFFSETS, request).await?;
        Ok(answered(vec![(None, ErrorCode::from(answer.error_code))]))
    }

    async fn commit_offsets(
        &self,
        identity: ProducerIdentity,
        protocol: TransactionProtocol,
        offsets: &OffsetsToCommit,
    ) -> Result<TransactionAnswer, RequestError> {
        let group = &offsets.group;
        let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
        for offset in &offsets.offsets {
            let partition = TxnOffsetCommitRequestPartition::default()
                .with_partition_index(offset.tp.partition)
                .with_committed_offset(offset.offset)
                .with_committed_leader_epoch(offset.leader_epoch.unwrap_or(-1))
                .with_committed_metadata(Some(StrBytes::from_string(offset.metadata.clone())));
            topics.entry(&offset.tp.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            TxnOffsetCommitRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions)
        });
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_group_id(StrBytes::from_string(group.group_id.clone()).into())
            .with_producer_id(ProducerId(identity.producer_id))
            .with_producer_epoch(identity.producer_epoch)
            .with_generation_id(group.generation_id)
            .with_member_id(StrBytes::from_string(group.member_id.clone()))
            .with_group_instance_id(group.group_instance_id.clone().map(StrBytes::from_string))
            .with_topics(topics.collect());
        let ours = match protocol {
            TransactionProtocol::Explicit => ApiRange { min: 3, max: 4 },
            TransactionProtocol::Implicit => ApiRange { min: 5, max: 5 },
        };
        let target = NodeTarget::GroupCoordinator(&group.group_id);
        let answer = self.ask(target, ours, request).await?;
        let codes = answer.topics.into_iter().flat_map(|topic| {
            let name: Arc<str> = topic.name.as_str().into();
            topic.partitions.into_iter().map(move |partition| {
                let tp = TopicPartition::new(Arc::clone(&name), partition.partition_index);
                (Some(tp), ErrorCode::from(partition.error_code))
            })
        });
        Ok(answered(complete(
            codes.collect(),
            offsets.offsets.iter().map(|offset| &offset.tp),
        )))
    }

    async fn end(
        &self,
        identity: ProducerIdentity,
        protocol: TransactionProtocol,
        end: TransactionEnd,
    ) -> Result<TransactionAnswer, RequestError> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(ProducerId(identity.producer_id))
            .with_producer_epoch(identity.producer_epoch)
            .with_committed(end == TransactionEnd::Commit);
        let ours = match protocol {
            TransactionProtocol::Explicit => ApiRange { min: 0, max: 4 },
            TransactionProtocol::Implicit => ApiRange { min: 5, max: 5 },
        };
        let answer = self.ask(self.coordinator(), ours, request).await?;
        let identity = match protocol {
            TransactionProtocol::Explicit => None,
            TransactionProtocol::Implicit => ProducerIdentity::named(answer.producer_id.0, answer.producer_epoch),
        };
        Ok(TransactionAnswer {
            identity,
            ..answered(vec![(None, ErrorCode::from(answer.error_code))])
        })
    }

    async fn ask<R: Request>(
        &self,
        target: NodeTarget<'_>,
        ours: ApiRange,
        request: R,
    ) -> Result<R::Response, RequestError> {
        let timeout = self.shared.config.client.request_timeout;
        let cluster = &self.shared.cluster;
        cluster
            .request_with(target, Lane::Control, Some(ours), |_| request, timeout)
            .await
    }

    fn coordinator(&self) -> NodeTarget<'_> {
        NodeTarget::TransactionCoordinator(self.id)
    }

    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(StrBytes::from_string(self.id.to_owned()))
    }
}

/// Partitions that an answer leaves out are asked for again.
fn complete<'a>(mut codes: Codes, asked: impl IntoIterator<Item = &'a TopicPartition>) -> Codes {
    for tp in asked {
        if !codes.iter().any(|(answered, _)| answered.as_ref() == Some(tp)) {
            codes.push((Some(tp.clone()), ErrorCode::REQUEST_TIMED_OUT));
        }
    }
    codes
}

fn answered(codes: Codes) -> TransactionAnswer {
    TransactionAnswer {
        codes,
        ..TransactionAnswer::default()
    }
}

fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

const NOBODY: ProducerIdentity = ProducerIdentity {
    producer_id: -1,
    producer_epoch: -1,
};
const MOVED: [ErrorCode; 2] = [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE];
/// From 3 on the epoch can be raised (KIP-360).
const INIT_PRODUCER_ID: ApiRange = ApiRange { min: 3, max: 5 };
/// The later ones are for brokers among themselves.
const ADD_PARTITIONS: ApiRange = ApiRange { min: 0, max: 3 };
const ADD_OFFSETS: ApiRange = ApiRange { min: 0, max: 4 };
