//! Transactions (KIP-98): what a transactional producer asks of its coordinator, and when.
//!
//! The state of the one transaction that a producer has is a machine of its own ([`state`]); what an answer
//! means is a table ([`verdict`]). Here they meet the batches: none is sent outside of a transaction, none survives one
//! that failed, and a transaction ends only when all its batches are resolved.
//! Never here: who the coordinator is, versions of requests (the driver's).

pub(super) mod error;
pub(super) mod request;
pub(super) mod state;
pub(super) mod steps;
mod verdict;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

use error::TransactionError;
use request::{
    OffsetsTicket, OffsetsToCommit, Step, TransactionEnd, TransactionOutcome, TransactionProtocol, TransactionRequest,
};
use state::{BatchesFate, Transaction};

use super::{ProducerMachine, delivery::DeliveryError};
use crate::topic_partition::TopicPartition;

impl<T: Clone> ProducerMachine<T> {
    /// Makes the producer transactional: it sends nothing outside of a transaction.
    #[must_use]
    pub fn with_transactions(mut self, transactional_id: Arc<str>) -> Self {
        let seed = self.rng.u64(..);
        self.needs_identity = false; // The transactional id's coordinator gives it.
        self.transaction = Some(Transaction::new(transactional_id, self.options.retry_backoff, seed));
        self
    }

    /// Starts to claim the transactional id: producers that had it before are fenced, their open transaction
    /// is aborted. Asking again while it goes on, or when it is done, does nothing.
    pub fn init_transactions(&mut self) -> Result<(), TransactionError> {
        self.transaction_mut("init_transactions")?.initialize()
    }

    /// The end of [`ProducerMachine::init_transactions`], when there is one.
    pub fn poll_initialized(&self) -> Option<Result<(), TransactionError>> {
        self.transaction.as_ref()?.poll_initialized()
    }

    /// Opens a transaction; the brokers hear of it with the first record or offset.
    pub fn begin_transaction(&mut self) -> Result<(), TransactionError> {
        let operation = "begin_transaction";
        if self.is_closed {
            let state = "the producer is closed";
            return Err(TransactionError::State { operation, state });
        }
        self.transaction_mut(operation)?.begin()
    }

    /// Starts to end the open transaction and gives its number for [`ProducerMachine::poll_ended`]. A commit first waits
    /// for all batches, an abort drops those that were not sent. Asking for the same end again, also once, after it is
    /// done, gives the same number.
    pub fn end_transaction(&mut self, end: TransactionEnd) -> Result<u64, TransactionError> {
        let number = self.transaction_mut(end.operation())?.end(end)?;
        self.flush();
        self.settle_transaction();
        Ok(number)
    }

    /// How the transaction of this number ended, when it has.
    pub fn poll_ended(&mut self, number: u64, end: TransactionEnd) -> Option<Result<(), TransactionError>> {
        self.transaction.as_mut()?.poll_ended(number, end)
    }

    /// Adds a group's offsets to the transaction (KIP-447) and gives a ticket for [`ProducerMachine::poll_offsets`]. `None`
    /// while others are on their way.
    pub fn send_offsets(&mut self, offsets: Arc<OffsetsToCommit>) -> Result<Option<OffsetsTicket>, TransactionError> {
        self.transaction_mut("send_offsets_to_transaction")?
            .send_offsets(offsets)
    }

    /// What became of the offsets, when it is known.
    pub fn poll_offsets(&self, ticket: OffsetsTicket) -> Option<Result<(), TransactionError>> {
        self.transaction.as_ref()?.poll_offsets(ticket)
    }

    /// A request for the coordinator; the next one comes after its outcome.
    pub fn poll_transaction_request(&mut self, now: Instant) -> Option<TransactionRequest> {
        let is_idle = self.is_idle();
        let transaction = self.transaction.as_mut()?;
        let step = transaction.poll_step(now, is_idle)?;
        let identity = transaction.identity();
        let known = || identity.expect("a transaction is opened only after InitProducerId");
        Some(match step {
            Step::InitProducerId => TransactionRequest::InitProducerId { identity },
            Step::AddPartitions => TransactionRequest::AddPartitions {
                identity: known(),
                partitions: transaction
                    .adding()
                    .map(|index| {
                        let queue = &self.partitions[index];
                        TopicPartition::new(Arc::clone(&queue.topic), queue.partition)
                    })
                    .collect(),
            },
            Step::AddOffsets => TransactionRequest::AddOffsets {
                identity: known(),
                offsets: transaction.offsets().expect("offsets lead to this step"),
            },
            Step::CommitOffsets => TransactionRequest::CommitOffsets {
                identity: known(),
                protocol: transaction.protocol(),
                offsets: transaction.offsets().expect("offsets lead to this step"),
            },
            Step::EndTxn => TransactionRequest::EndTxn {
                identity: known(),
                protocol: transaction.protocol(),
                end: transaction.ending().expect("an end leads to this step"),
            },
        })
    }

    /// Takes the end of a request of [`ProducerMachine::poll_transaction_request`].
    pub fn handle_transaction_outcome(&mut self, now: Instant, outcome: &TransactionOutcome) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        transaction.handle_outcome(now, outcome);
        let identity = transaction.identity();
        if identity != self.identity
            && let Some(identity) = identity
        {
            // Nothing of the transaction before is left: it ended when all its batches were resolved.
            self.identity = Some(identity);
            for queue in &mut self.partitions {
                queue.begin_epoch(identity);
            }
        }
        self.settle_transaction();
    }

    /// Whether something changed that whoever waits for a transaction must look at; asking resets it.
    pub fn poll_transaction_news(&mut self) -> bool {
        self.transaction.as_mut().is_some_and(Transaction::poll_news)
    }

    /// The protocol of the transaction's requests; `None` without transactions.
    pub(super) fn transaction_protocol(&self) -> Option<TransactionProtocol> {
        self.transaction.as_ref().map(Transaction::protocol)
    }

    /// The failed batch that is why the newest transaction cannot be committed; until the next one begins.
    pub fn transaction_failure(&self) -> Option<&DeliveryError> {
        self.transaction.as_ref()?.scope.failure.as_ref()
    }

    /// A batch was given up: the transaction cannot be committed any more.
    pub(super) fn fail_transaction(&mut self, error: &DeliveryError, was_sent: bool) {
        if let Some(transaction) = &mut self.transaction
            && transaction.handle_batch_failed(&error.to_string().into(), was_sent)
        {
            transaction.scope.failure = Some(error.clone());
        }
    }

    /// Does with the batches what the transaction's state asks for.
    pub(super) fn settle_transaction(&mut self) {
        let Some(transaction) = &self.transaction else {
            return;
        };
        match transaction.batches_fate() {
            BatchesFate::Send => {}
            BatchesFate::Finish(reason) => self.drop_batches(&reason, false),
            BatchesFate::Drop(reason) => self.drop_batches(&reason, true),
        }
    }

    /// Ends batches with an error; what is in flight may still be written, so an abort waits for those.
    pub(super) fn drop_batches(&mut self, reason: &Arc<str>, includes_in_flight: bool) {
        for partition in self.active.iter().copied().collect::<Vec<_>>() {
            // From the youngest on: so that none moves up in the sequence.
            for index in (0..self.partitions[partition].batches.len()).rev() {
                let queue = &self.partitions[partition];
                if includes_in_flight || !queue.batches[index].is_in_flight() {
                    let error = DeliveryError::Aborted {
                        topic: Arc::clone(&queue.topic),
                        partition: queue.partition,
                        reason: Arc::clone(reason),
                        may_be_written: queue.batches[index].may_be_written(),
                    };
                    self.resolve(partition, index, Err(error));
                }
            }
        }
    }

    fn transaction_mut(&mut self, operation: &'static str) -> Result<&mut Transaction, TransactionError> {
        self.transaction
            .as_mut()
            .ok_or(TransactionError::NotTransactional { operation })
    }
}
