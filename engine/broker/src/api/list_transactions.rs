//! ListTransactions: every transactional id, filtered by state, producer and age (KIP-664, KIP-994).

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::list_transactions_response::TransactionState;
use engine_wire::messages::{ListTransactionsRequest, ListTransactionsResponse, ProducerId, StrBytes, TransactionalId};

use crate::exchange::Asker;
use crate::node::{Node, now_ms};
use crate::transaction::{State, Transaction};
use crate::transaction_coordinator::lock;

/// Kafka's states; the last two are never seen here.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "PrepareEpochFence",
    "Dead",
];

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: ListTransactionsRequest) -> ListTransactionsResponse {
    // Before version 1 there is no filter by age.
    let age_min = match asker.version {
        0 => -1,
        _ => request.duration_filter,
    };
    let now = now_ms();
    let is_asked = |transaction: &Transaction| {
        let (states, producers) = (&request.state_filters, &request.producer_id_filters);
        let name = transaction.state_name();
        let has_state = states.is_empty() || states.iter().any(|state| state.as_str() == name);
        let producer_id = ProducerId(transaction.producer.producer_id);
        let has_age = match transaction.state {
            State::Ongoing { started_at, .. } | State::Prepared { started_at, .. } => now - started_at > age_min,
            State::Empty | State::Complete { .. } => age_min < 0,
        };
        has_state && (producers.is_empty() || producers.contains(&producer_id)) && (age_min < 0 || has_age)
    };
    let listed = node.transactions.all().into_iter().filter_map(|(id, transaction)| {
        let transaction = lock(&transaction);
        is_asked(&transaction).then(|| {
            TransactionState::default()
                .with_transactional_id(TransactionalId(StrBytes::from_string(id)))
                .with_producer_id(ProducerId(transaction.producer.producer_id))
                .with_transaction_state(StrBytes::from_static_str(transaction.state_name()))
        })
    });
    let listed = listed.collect();
    let is_unknown = |state: &&StrBytes| !STATES.contains(&state.as_str());
    let unknown = request.state_filters.iter().filter(is_unknown).cloned().collect();
    ListTransactionsResponse::default()
        .with_unknown_state_filters(unknown)
        .with_transaction_states(listed)
}

pub(super) fn failed(_: Asker<'_>, _: ListTransactionsRequest, code: ErrorCode) -> ListTransactionsResponse {
    ListTransactionsResponse::default().with_error_code(code.code())
}
