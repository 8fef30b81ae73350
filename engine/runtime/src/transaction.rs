//! The transaction that a checkpoint commits: outputs, state and offsets together, or nothing of them (KIP-98, KIP-447).
//!
//! One is open from each commit to the next. Brokers hear of it with its first record, so a checkpoint that has nothing to
//! say costs nothing.
//! Never here: what is written, what happens after a failure (the session is dropped, see `run`).

use engine_client::{CommittedOffset, Consumer, Producer, TopicPartition, TransactionError};
use tracing::warn;

use crate::error_chain::describe;
use crate::run_error::RunError;

/// How often an end of a transaction that does not come is waited for, `max.block.ms` each time. Beyond it the session is
/// given up: what became of the transaction is found out by the next.
const WAITS_MAX: u32 = 2;

/// Why a transaction was not committed, or not known to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitFailure {
    /// Another process took over, or the transaction was open for too long: nothing of it is committed.
    #[error("{0}")]
    Fenced(String),
    /// It is aborted, or whoever restores next finds out what became of it.
    #[error("{0}")]
    Failed(String),
}

/// The transaction of a session.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    producer: Producer,
}

impl Transaction {
    /// Claims the transactional id: whoever had it before can commit no more, and what it left open is aborted when this
    /// returns. Then opens a transaction.
    pub(crate) async fn init(producer: Producer) -> Result<Transaction, RunError> {
        let transaction = Transaction { producer };
        let mut waits = 0;
        loop {
            match transaction.producer.init_transactions().await {
                Ok(()) => break,
                Err(error @ TransactionError::TimedOut { .. }) if waits < WAITS_MAX => {
                    warn!(
                        %error,
                        "The coordinator of the pipeline's transactions does not answer; it is asked again. A cluster where it never \
                         does has a transaction.state.log.replication.factor of more than its brokers."
                    );
                    waits += 1;
                }
                Err(error @ (TransactionError::TimedOut { .. } | TransactionError::Fenced { .. })) => {
                    return Err(RunError::Transaction(describe(&error)));
                }
                Err(error) => return Err(RunError::Refused(describe(&error))),
            }
        }
        transaction
            .begin()
            .map_err(|failure| RunError::Transaction(failure.to_string()))?;
        Ok(transaction)
    }

    /// Commits everything that was sent, with the group's offsets, and opens the next transaction.
    pub(crate) async fn commit(
        &self,
        offsets: &[(TopicPartition, CommittedOffset)],
        group: &Consumer,
    ) -> Result<(), CommitFailure> {
        let member = group
            .group_metadata()
            .map_err(|error| CommitFailure::Fenced(describe(&error)))?;
        let mut waits = 0;
        loop {
            match self.producer.send_offsets_to_transaction(offsets, &member).await {
                Ok(()) => break,
                Err(error) => wait_or_fail(error, &mut waits)?,
            }
        }
        self.end(waits).await
    }

    /// Commits what was sent, without offsets: it succeeds only for whoever still has the transactional id.
    pub(crate) async fn commit_records(&self) -> Result<(), CommitFailure> {
        self.end(0).await
    }

    async fn end(&self, mut waits: u32) -> Result<(), CommitFailure> {
        loop {
            match self.producer.commit_transaction().await {
                Ok(()) => break,
                Err(error) => wait_or_fail(error, &mut waits)?,
            }
        }
        self.begin()
    }

    fn begin(&self) -> Result<(), CommitFailure> {
        self.producer
            .begin_transaction()
            .map_err(|error| CommitFailure::Failed(describe(&error)))
    }
}

/// Lets the caller wait on if there is still something to wait for.
fn wait_or_fail(error: TransactionError, waits: &mut u32) -> Result<(), CommitFailure> {
    match error {
        TransactionError::TimedOut { .. } if *waits < WAITS_MAX => {
            warn!(%error, "A checkpoint waits for the coordinator of its transaction.");
            *waits += 1;
            Ok(())
        }
        TransactionError::Fenced { .. } => Err(CommitFailure::Fenced(describe(&error))),
        error => Err(CommitFailure::Failed(describe(&error))),
    }
}
