//! DescribeTransactions: producer, state and partitions of transactional ids (KIP-664).

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::describe_transactions_response::{TopicData, TransactionState};
use engine_wire::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, ProducerId, StrBytes, TopicName, TransactionalId,
};

use crate::exchange::Asker;
use crate::node::Node;
use crate::transaction::{State, Transaction};
use crate::transaction_coordinator::lock;

pub(super) fn handle(
    node: &Arc<Node>,
    _: Asker<'_>,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let describe = |id: TransactionalId| {
        let state = match node.transactions.find(&id) {
            Some(transaction) => describe(&lock(&transaction)),
            None => TransactionState::default().with_error_code(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND.code()),
        };
        state.with_transactional_id(id)
    };
    let states = request.transactional_ids.into_iter().map(describe).collect();
    DescribeTransactionsResponse::default().with_transaction_states(states)
}

pub(super) fn failed(
    _: Asker<'_>,
    request: DescribeTransactionsRequest,
    code: ErrorCode,
) -> DescribeTransactionsResponse {
    let states = request.transactional_ids.into_iter().map(|id| {
        TransactionState::default()
            .with_transactional_id(id)
            .with_error_code(code.code())
    });
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}

fn describe(transaction: &Transaction) -> TransactionState {
    let (started_at, scope) = match &transaction.state {
        State::Ongoing { started_at, scope } | State::Prepared { started_at, scope, .. } => (*started_at, Some(scope)),
        State::Empty | State::Complete { .. } => (-1, None),
    };
    let topics = scope.into_iter().flat_map(|scope| &scope.partitions);
    let topics = topics.map(|(topic, partitions)| {
        TopicData::default()
            .with_topic(TopicName(StrBytes::from_string(topic.clone())))
            .with_partitions(partitions.iter().copied().collect())
    });
    TransactionState::default()
        .with_transaction_state(StrBytes::from_static_str(transaction.state_name()))
        .with_transaction_timeout_ms(transaction.timeout_ms)
        .with_transaction_start_time_ms(started_at)
        .with_producer_id(ProducerId(transaction.producer.producer_id))
        .with_producer_epoch(transaction.producer.producer_epoch)
        .with_topics(topics.collect())
}
