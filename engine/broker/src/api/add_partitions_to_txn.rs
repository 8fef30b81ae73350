//! AddPartitionsToTxn: partitions join a transaction before it writes to them.
//!
//! Up to version 3 a producer asks for its own transaction; from version 4 on a broker does so for several, or asks
//! whether the partitions are in already (KIP-890).

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use engine_wire::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use engine_wire::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

use crate::exchange::Asker;
use crate::node::Node;
use crate::transaction::{Part, Producer, Scope};

/// First version that knows PRODUCER_FENCED.
const FENCED: i16 = 2;
/// First version with several transactions.
const BATCHED: i16 = 4;
/// First version that knows TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 5;

pub(super) fn handle(
    node: &Arc<Node>,
    asker: Asker<'_>,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    respond(asker, request, |transaction| match transaction.verify_only {
        true => verify(node, asker, transaction),
        false => add(node, asker, transaction),
    })
}

pub(super) fn failed(
    asker: Asker<'_>,
    request: AddPartitionsToTxnRequest,
    code: ErrorCode,
) -> AddPartitionsToTxnResponse {
    respond(asker, request, |transaction| every_partition(transaction, |_, _| code))
}

/// All partitions or none: where one is not known, none joins.
fn add(
    node: &Node,
    asker: Asker<'_>,
    transaction: &AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let is_known = |topic: &str, index| {
        node.topics
            .find(topic)
            .is_some_and(|topic| topic.partition(index).is_some())
    };
    let mut scope = Scope::default();
    let mut all_known = true;
    for topic in &transaction.topics {
        all_known &= topic.partitions.iter().all(|index| is_known(&topic.name, *index));
        let joining = scope.partitions.entry(topic.name.to_string()).or_default();
        joining.extend(&topic.partitions);
    }
    if !all_known {
        return every_partition(transaction, |topic, index| match is_known(topic, index) {
            true => ErrorCode::OPERATION_NOT_ATTEMPTED,
            false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        });
    }
    let added = node.add_to_transaction(&transaction.transactional_id, producer(transaction), scope);
    let code = added.map_or_else(|code| known_code(asker, code), |()| ErrorCode::NONE);
    every_partition(transaction, |_, _| code)
}

fn verify(
    node: &Node,
    asker: Asker<'_>,
    transaction: &AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    every_partition(transaction, |topic, index| {
        let part = Part::Partition { topic, index };
        let is_in = node.is_in_transaction(&transaction.transactional_id, producer(transaction), part);
        is_in.map_or_else(|code| known_code(asker, code), |()| ErrorCode::NONE)
    })
}

fn known_code(asker: Asker<'_>, code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::PRODUCER_FENCED if asker.version < FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::INVALID_TXN_STATE if asker.version >= ABORTABLE => ErrorCode::TRANSACTION_ABORTABLE,
        code => code,
    }
}

fn producer(transaction: &AddPartitionsToTxnTransaction) -> Producer {
    Producer {
        producer_id: transaction.producer_id.0,
        producer_epoch: transaction.producer_epoch,
    }
}

fn every_partition(
    transaction: &AddPartitionsToTxnTransaction,
    code: impl Fn(&str, i32) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let topic = |topic: &AddPartitionsToTxnTopic| {
        let partition = |index: &i32| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(code(&topic.name, *index).code())
        };
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(topic.partitions.iter().map(partition).collect())
    };
    transaction.topics.iter().map(topic).collect()
}

fn respond(
    asker: Asker<'_>,
    request: AddPartitionsToTxnRequest,
    handle: impl Fn(&AddPartitionsToTxnTransaction) -> Vec<AddPartitionsToTxnTopicResult>,
) -> AddPartitionsToTxnResponse {
    if asker.version < BATCHED {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(request.v3_and_below_transactional_id)
            .with_producer_id(request.v3_and_below_producer_id)
            .with_producer_epoch(request.v3_and_below_producer_epoch)
            .with_topics(request.v3_and_below_topics);
        return AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(handle(&transaction));
    }
    let result = |transaction: AddPartitionsToTxnTransaction| {
        let topics = handle(&transaction);
        AddPartitionsToTxnResult::default()
            .with_transactional_id(transaction.transactional_id)
            .with_topic_results(topics)
    };
    AddPartitionsToTxnResponse::default()
        .with_results_by_transaction(request.transactions.into_iter().map(result).collect())
}
