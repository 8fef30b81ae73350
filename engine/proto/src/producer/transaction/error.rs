//! Why a transactional operation did not do what it was asked for.

use std::{sync::Arc, time::Duration};

/// Why a transaction did not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// The producer was configured without `transactional.id`.
    #[error("{operation}: the producer has no `transactional.id`")]
    NotTransactional {
        /// What was asked for.
        operation: &'static str,
    },
    /// Not in this order.
    #[error("{operation} is not possible now: {state}")]
    State {
        /// What was asked for.
        operation: &'static str,
        /// Where the transaction is.
        state: &'static str,
    },
    /// The transaction is lost, the producer is not: abort and begin anew.
    #[error("the transaction must be aborted: {reason}")]
    MustAbort {
        /// What happened to it.
        reason: Arc<str>,
    },
    /// A newer producer has the transactional id, or the transaction took longer than `transaction.timeout.ms`: close this
    /// producer. Its open transaction is or will be aborted.
    #[error(
        "transactional id {transactional_id}: this producer is fenced by a newer one, or its transaction timed out: {reason}"
    )]
    Fenced {
        /// `transactional.id`.
        transactional_id: Arc<str>,
        /// How it came out.
        reason: Arc<str>,
    },
    /// Nothing more can be done with this producer: close it. Under the newer protocol (KIP-890) a commit after
    /// `transaction.timeout.ms` ends here, with INVALID_TXN_STATE, and not in [`Self::Fenced`].
    #[error("transactional id {transactional_id}: the producer cannot go on: {reason}")]
    Fatal {
        /// `transactional.id`.
        transactional_id: Arc<str>,
        /// What the coordinator refused.
        reason: Arc<str>,
    },
    /// Not finished in time. It goes on; asking for the same again waits on.
    #[error("{operation} did not finish within {} ms", waited.as_millis())]
    TimedOut {
        /// What was asked for.
        operation: &'static str,
        /// `max.block.ms`.
        waited: Duration,
    },
}
