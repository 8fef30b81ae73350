//! Produce: batches are checked, given their offsets and kept.
//!
//! The request is read by hand (see `produce_request`), so that a batch goes from the socket to the log as it is.
//! With one replica every acknowledgement is the same, so acks=1 and acks=all differ in nothing.

use std::sync::Arc;

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use engine_wire::messages::{ProduceResponse, StrBytes, TopicName};
use engine_wire::record_batch::{BatchError, ProducedBatchError};
use tracing::debug;

use crate::batch::{BatchRefused, BatchRules, InTransaction, IncomingBatch};
use crate::exchange::{AnswerError, Asker};
use crate::log::producer_state::SequenceError;
use crate::node::{Node, now_ms};
use crate::partition::{AppendError, Appended, Partition};
use crate::produce_request::{PartitionData, ProduceRequest, TopicKey};
use crate::topic::Topic;
use crate::transaction::{Part, Producer};

/// First version that knows TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 11;
/// First version that adds the partition to the transaction by itself (KIP-890).
const JOINS: i16 = 12;

/// A code, and the sentence for versions that have room for one.
type Refused = (ErrorCode, String);

pub(super) fn handle(
    node: &Arc<Node>,
    asker: Asker<'_>,
    body: Bytes,
    fault: Option<ErrorCode>,
) -> Result<Option<ProduceResponse>, AnswerError> {
    let request = ProduceRequest::decode(asker.version, body)?;
    let acks = request.acks;
    let refuse_all = match acks {
        -1..=1 => fault,
        _ => Some(ErrorCode::INVALID_REQUIRED_ACKS),
    };
    let transactional_id = request.transactional_id.as_deref();
    let mut any_failed = false;
    let mut responses = Vec::with_capacity(request.topics.len());
    for data in request.topics {
        let topic = match &data.topic {
            TopicKey::Id(id) => node.topics.find_by_id(*id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
            TopicKey::Name(name) => node.topics.find(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        };
        let topic = refuse_all
            .map_or(topic, Err)
            .map_err(|code| (code, code.message().to_owned()));
        let mut partitions = Vec::with_capacity(data.partitions.len());
        for data in data.partitions {
            let index = data.index;
            let appended = topic
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|topic| append(node, asker, transactional_id, topic, data));
            any_failed |= appended.is_err();
            partitions.push(respond(index, appended));
        }
        let response = TopicProduceResponse::default().with_partition_responses(partitions);
        responses.push(match data.topic {
            TopicKey::Id(id) => response.with_topic_id(id),
            TopicKey::Name(name) => response.with_name(TopicName(StrBytes::from_string(name))),
        });
    }
    match acks {
        0 if any_failed => Err(AnswerError::FailedWithoutAcks),
        0 => Ok(None),
        _ => Ok(Some(ProduceResponse::default().with_responses(responses))),
    }
}

/// The broker's time, if the batch got it, beside where it is.
fn append(
    node: &Node,
    asker: Asker<'_>,
    transactional_id: Option<&str>,
    topic: &Topic,
    data: PartitionData,
) -> Result<(Appended, Option<i64>), Refused> {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let partition = topic
        .partition(data.index)
        .ok_or_else(|| (unknown, unknown.message().to_owned()))?;
    let config = topic.config();
    let rules = BatchRules {
        message_bytes_max: config.message_bytes_max.unwrap_or(node.config.message_bytes_max),
        is_compacted: config.is_compacted,
        log_append_time: config.is_log_append_time.then(now_ms),
    };
    let batch = IncomingBatch::check(data.records, rules).map_err(|refused| batch_code(topic, &partition, &refused))?;
    let append = || partition.append(&batch, node.syncs_appends());
    let appended = match batch.in_transaction() {
        InTransaction::Data => {
            let producer = Producer {
                producer_id: batch.producer_id(),
                producer_epoch: batch.producer_epoch(),
            };
            let part = Part::Partition {
                topic: &topic.name,
                index: partition.index,
            };
            let joins = asker.version >= JOINS;
            transactional_id
                .ok_or(ErrorCode::INVALID_TXN_STATE)
                .and_then(|id| node.within_transaction(id, producer, part, joins, append))
                .map_err(|code| transaction_code(asker, topic, &partition, code))?
        }
        InTransaction::No | InTransaction::Marker { .. } => append(),
    };
    let appended = appended.map_err(|error| match error {
        AppendError::Sequence(error) => {
            debug!(topic = %topic.name, partition = partition.index, %error, "Sequence refused.");
            (sequence_code(error), error.to_string())
        }
        AppendError::OutsideTransaction { .. } => (ErrorCode::INVALID_TXN_STATE, error.to_string()),
        AppendError::Io(error) => node.storage_failed("append to a log", &error),
    })?;
    node.keep_bounds(topic, &partition);
    Ok((appended, rules.log_append_time))
}

fn respond(index: i32, appended: Result<(Appended, Option<i64>), Refused>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match appended {
        Ok((appended, log_append_time)) => response
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(log_append_time.unwrap_or(-1))
            .with_log_start_offset(appended.log_start_offset),
        Err((code, message)) => response
            .with_error_code(code.code())
            .with_base_offset(-1)
            .with_log_append_time_ms(-1)
            .with_log_start_offset(-1)
            .with_error_message(Some(StrBytes::from_string(message))),
    }
}

fn batch_code(topic: &Topic, partition: &Partition, refused: &BatchRefused) -> Refused {
    let code = match refused {
        BatchRefused::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
        BatchRefused::Invalid(ProducedBatchError::Batch(BatchError::Magic { .. })) => {
            ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT
        }
        BatchRefused::Invalid(ProducedBatchError::Batch(_)) => ErrorCode::CORRUPT_MESSAGE,
        BatchRefused::NoKey | BatchRefused::Invalid(_) => ErrorCode::INVALID_RECORD,
    };
    debug!(topic = %topic.name, partition = partition.index, error = %refused, "Batch refused.");
    (code, refused.to_string())
}

/// Produce has codes of its own for what its transaction refuses.
fn transaction_code(asker: Asker<'_>, topic: &Topic, partition: &Partition, code: ErrorCode) -> Refused {
    let told = match code {
        ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::INVALID_TXN_STATE if asker.version >= ABORTABLE => ErrorCode::TRANSACTION_ABORTABLE,
        // Old producers try again after this one.
        ErrorCode::CONCURRENT_TRANSACTIONS if asker.version < JOINS => ErrorCode::NOT_ENOUGH_REPLICAS,
        code => code,
    };
    debug!(topic = %topic.name, partition = partition.index, %code, "Transactional batch refused.");
    let reason = match code {
        ErrorCode::INVALID_TXN_STATE => "the partition is not in an open transaction of this producer",
        code => code.message(),
    };
    (told, reason.to_owned())
}

fn sequence_code(error: SequenceError) -> ErrorCode {
    match error {
        SequenceError::Fenced { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
        SequenceError::OutOfOrder { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        SequenceError::Duplicate { .. } => ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
    }
}
