//! Transactions: the handle's side.
//!
//! Each operation only asks the machine and waits for what it says, so its future may be dropped at any time: what was asked
//! for goes on, and asking again waits on.
//! Never here: requests (see `transaction_request`), what an answer means (see `engine_proto::producer`).

use engine_proto::producer::{
    ConsumerGroupMetadata, DeliveryError, OffsetsToCommit, TransactionEnd, TransactionError, TransactionOffset,
};

use super::{Producer, machine::Machine};
use crate::{CommittedOffset, TopicPartition};

/// Needs `transactional.id`. One task drives the transactions of a producer; any number may send within them.
///
/// ```no_run
/// # async fn example(
/// #     producer: engine_client::Producer, consumer: engine_client::Consumer, record: engine_client::ProduceRecord<'_>,
/// #     offsets: &[(engine_client::TopicPartition, engine_client::CommittedOffset)],
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use engine_client::TransactionError;
///
/// producer.init_transactions().await?; // Once.
/// producer.begin_transaction()?;
/// producer.send(record).await?;
/// producer.send_offsets_to_transaction(offsets, &consumer.group_metadata()?).await?;
/// match producer.commit_transaction().await {
///     Err(TransactionError::MustAbort { .. }) => producer.abort_transaction().await?, // Then read again from the committed offsets.
///     outcome => outcome?,
/// }
/// # Ok(()) }
/// ```
///
/// Every operation waits at most `max.block.ms` and then fails with [`TransactionError::TimedOut`]; what it asked for goes on,
/// and calling it again waits on. The same holds for a future that is dropped.
///
/// After [`TransactionError::MustAbort`] only [`abort_transaction`](Self::abort_transaction) leads on. After
/// [`TransactionError::Fenced`] and [`TransactionError::Fatal`] nothing does: close the producer.
impl Producer {
    /// Claims the transactional id, once, before everything else: a producer that had it before is fenced, and what
    /// it left open is aborted.
    ///
    /// # Errors
    /// See [`TransactionError`].
    pub async fn init_transactions(&self) -> Result<(), TransactionError> {
        self.shared.machine().init_transactions()?;
        self.transaction_result("init_transactions", |machine| machine.poll_initialized())
            .await
    }

    /// Opens a transaction: what is sent from now on belongs to it. The brokers hear of it with the first record.
    ///
    /// # Errors
    /// [`TransactionError::State`] if one is open.
    pub fn begin_transaction(&self) -> Result<(), TransactionError> {
        self.shared.machine().begin_transaction()
    }

    /// Commits a group's offsets with the transaction, or not at all (KIP-447). `group` is what
    /// [`Consumer::group_metadata`](crate::Consumer::group_metadata) says: the coordinator refuses the offsets of a member
    /// that was replaced, and the transaction must be aborted then.
    ///
    /// # Errors
    /// See [`TransactionError`].
    pub async fn send_offsets_to_transaction(
        &self,
        offsets: &[(TopicPartition, CommittedOffset)],
        group: &ConsumerGroupMetadata,
    ) -> Result<(), TransactionError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let offsets = offsets.iter().map(|(tp, committed)| TransactionOffset {
            tp: tp.clone(),
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: committed.metadata.clone(),
        });
        let offsets = std::sync::Arc::new(OffsetsToCommit {
            group: group.clone(),
            offsets: offsets.collect(),
        });
        let mut ticket = None;
        self.transaction_result("send_offsets_to_transaction", move |machine| {
            if ticket.is_none() {
                match machine.send_offsets(offsets.clone()) {
                    Ok(taken) => ticket = taken,
                    Err(error) => return Some(Err(error)),
                }
            }
            machine.poll_offsets(ticket?)
        })
        .await
    }

    /// Waits until all records of the transaction are acknowledged, then commits it. An empty one ends at once.
    ///
    /// # Errors
    /// [`TransactionError::MustAbort`] if a record could not be delivered; else see [`TransactionError`].
    pub async fn commit_transaction(&self) -> Result<(), TransactionError> {
        self.end_transaction(TransactionEnd::Commit).await
    }

    /// Drops the records that were not sent and aborts the transaction. [`Producer::flush`] does not tell of these
    /// records later.
    ///
    /// # Errors
    /// See [`TransactionError`].
    pub async fn abort_transaction(&self) -> Result<(), TransactionError> {
        self.end_transaction(TransactionEnd::Abort).await?;
        self.shared.failure().take();
        Ok(())
    }

    /// The delivery that failed first in the newest transaction: why [`TransactionError::MustAbort`] says that it must be
    /// aborted, with the broker's error code. `None` if all went well so far, or if it was the coordinator that refused.
    #[must_use]
    pub fn transaction_failure(&self) -> Option<DeliveryError> {
        self.shared.machine().transaction_failure().cloned()
    }

    async fn end_transaction(&self, end: TransactionEnd) -> Result<(), TransactionError> {
        let number = self.shared.machine().end_transaction(end)?;
        self.transaction_result(end.operation(), |machine| machine.poll_ended(number, end))
            .await
    }

    /// Looks at the machine whenever something changed, until there is a result.
    async fn transaction_result(
        &self,
        operation: &'static str,
        mut poll: impl FnMut(&mut Machine) -> Option<Result<(), TransactionError>>,
    ) -> Result<(), TransactionError> {
        let looking = async {
            loop {
                let changed = self.shared.transaction_changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let result = poll(&mut self.shared.machine());
                self.shared.wake_sender.notify_one();
                if let Some(result) = result {
                    return result;
                }
                changed.await;
            }
        };
        let waited = self.shared.config.block_max;
        let result = tokio::time::timeout(waited, looking).await;
        result.unwrap_or(Err(TransactionError::TimedOut { operation, waited }))
    }
}
