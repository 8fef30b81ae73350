//! What the handles and the sender share: the machine behind its lock, and who wakes whom.
//!
//! Appending holds the lock for one record, or for some hundred of many, never across an await.
//! Never here: sealing and sending (see `sender`).

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use engine_proto::producer::{AppendError, BatchOutcome, DeliveryError, ProducerMachine, TopicRecord};
use engine_wire::error_code::ErrorCode;
use tokio::sync::{Notify, watch};

use super::{
    error::SendError,
    receipt::{BatchReceipt, Receipt},
};
use crate::{cluster::Cluster, config::ProducerConfig, connection::now};

/// How a batch, or a part of one, ended.
pub(super) type Outcome = BatchOutcome<Arc<BatchReceipt>>;

/// The machine, whose batches carry their receipts' completion.
pub(super) type Machine = ProducerMachine<Arc<BatchReceipt>>;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: ProducerConfig,
    pub(super) cluster: Cluster,
    pub(super) machine: Mutex<Machine>,
    /// The sender has something to do.
    pub(super) wake_sender: Notify,
    /// Batches were resolved: there is memory, and flushes may be done.
    pub(super) resolved: Notify,
    /// A transaction began, ended or failed.
    pub(super) transaction_changed: Notify,
    /// The first failure since the last flush.
    pub(super) failure: Mutex<Option<DeliveryError>>,
    /// Set by the sender when it ends.
    pub(super) ended: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// `None` if the buffer is full.
    pub(super) fn append(&self, topic_index: usize, record: &TopicRecord<'_>) -> Result<Option<Receipt>, AppendError> {
        let mut machine = self.machine();
        let was_short = machine.is_memory_short();
        let outcome = match machine.append(topic_index, record, open) {
            Ok(appended) => {
                let receipt = Receipt::new(Arc::clone(appended.token), appended.partition, appended.record);
                (Ok(Some(receipt)), appended.is_news)
            }
            // The batches that lingered are due now.
            Err(AppendError::BufferFull { .. }) => (Ok(None), !was_short),
            Err(error) => (Err(error), false),
        };
        drop(machine);
        let (outcome, is_news) = outcome;
        if is_news {
            self.wake_sender.notify_one();
        }
        outcome
    }

    /// Appends until the iterator ends, the buffer is full or [`APPENDS_PER_LOCK`] are through. A record for
    /// which there was no room stays in `waiting`.
    pub(super) fn append_some<'r>(
        &self,
        topic_index: usize,
        records: &mut impl Iterator<Item = TopicRecord<'r>>,
        waiting: &mut Option<TopicRecord<'r>>,
    ) -> Result<AppendedSome, AppendError> {
        let mut is_news = false;
        let mut count = 0;
        let mut machine = self.machine();
        let was_short = machine.is_memory_short();
        let outcome = loop {
            if count == APPENDS_PER_LOCK {
                break Ok(Stopped::ToBreathe);
            }
            let Some(record) = waiting.take().or_else(|| records.next()) else {
                break Ok(Stopped::AtEnd);
            };
            match machine.append(topic_index, &record, open) {
                Ok(appended) => is_news |= appended.is_news,
                Err(AppendError::BufferFull { .. }) => {
                    is_news |= !was_short;
                    *waiting = Some(record);
                    break Ok(Stopped::Full);
                }
                Err(error) => break Err(error),
            }
            count += 1;
        };
        drop(machine);
        if is_news {
            self.wake_sender.notify_one();
        }
        outcome.map(|stopped| AppendedSome {
            records: count,
            stopped,
        })
    }

    pub(super) async fn wait_for_room(
        &self,
        topic: &str,
        resolved: impl Future<Output = ()>,
        deadline: Instant,
    ) -> Result<(), SendError> {
        let waited = tokio::time::timeout_at(deadline.into(), resolved).await;
        waited.map_err(|_| SendError::BufferFull {
            topic: topic.into(),
            waited: self.config.block_max,
        })
    }

    pub(super) async fn flush(&self) -> Result<(), DeliveryError> {
        let mark = self.machine().flush();
        self.wake_sender.notify_one();
        loop {
            let resolved = self.resolved.notified();
            tokio::pin!(resolved);
            resolved.as_mut().enable();
            let (is_flushed, outcomes) = {
                let mut machine = self.machine();
                (machine.is_flushed(mark), self.take_outcomes(&mut machine))
            };
            self.complete(outcomes);
            if is_flushed {
                break;
            }
            resolved.await;
        }
        self.failure().take().map_or(Ok(()), Err)
    }

    /// The ends of batches. Failures are noted under the machine's lock: whoever finds the machine flushed must
    /// find them too, or a flush would succeed over lost records.
    pub(super) fn take_outcomes(&self, machine: &mut Machine) -> Vec<Outcome> {
        let outcomes: Vec<Outcome> = std::iter::from_fn(|| machine.poll_outcome()).collect();
        let failed = outcomes.iter().find_map(|outcome| outcome.result.as_ref().err());
        if let Some(error) = failed {
            self.failure().get_or_insert_with(|| error.clone());
        }
        outcomes
    }

    /// Tells the receipts, and everybody who waits for memory or for a flush.
    pub(super) fn complete(&self, outcomes: Vec<Outcome>) {
        if outcomes.is_empty() {
            return;
        }
        for outcome in outcomes {
            Arc::clone(&outcome.token).complete(outcome);
        }
        self.resolved.notify_waiters();
    }

    pub(super) fn failure(&self) -> MutexGuard<'_, Option<DeliveryError>> {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Asks for metadata once more; whether it came, the machine's next answer says.
    pub(super) async fn ask_again(&self, deadline: Instant) {
        let ticket = self.cluster.refresh_metadata();
        let _ = self.cluster.wait_refreshed(ticket, deadline).await;
        self.machine().handle_metadata(&self.cluster.metadata());
    }

    /// Asks for the topic until it is there, cannot be there, or the deadline passes.
    pub(super) async fn find_topic(&self, topic: &str, deadline: Instant) -> Result<usize, SendError> {
        let started = now();
        let no_metadata = |reason: String| SendError::NoMetadata {
            topic: topic.into(),
            waited: now().saturating_duration_since(started),
            reason,
        };
        let mut ticket = self.cluster.track_topics([topic]);
        let mut reason = "no answer".to_owned();
        loop {
            if let Err(error) = self.cluster.wait_refreshed(ticket, deadline).await {
                // The connections close with the producer, which knows why.
                self.machine().check_open()?;
                let is_late = now() >= deadline && error.is_retriable();
                return Err(no_metadata(if is_late && reason != "no answer" {
                    reason
                } else {
                    error.to_string()
                }));
            }
            let metadata = self.cluster.metadata();
            {
                let mut machine = self.machine();
                machine.handle_metadata(&metadata);
                if let Some(index) = machine.topic_index(topic) {
                    return Ok(index);
                }
            }
            if let Some(found) = metadata.topic(topic) {
                reason = found.error.to_string();
                // A topic that is being created is missing at first.
                let may_come = found.error.is_retriable() || found.error == ErrorCode::NONE;
                if !may_come {
                    return Err(no_metadata(reason));
                }
            }
            if now() >= deadline {
                return Err(no_metadata(reason));
            }
            ticket = self.cluster.refresh_metadata();
        }
    }
}

pub(super) struct AppendedSome {
    pub(super) records: usize,
    pub(super) stopped: Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    AtEnd,
    ToBreathe,
    Full,
}

/// What a batch that opens needs: two clocks and a completion, once per batch.
fn open() -> (Instant, i64, Arc<BatchReceipt>) {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall_ms = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
    (now(), wall_ms, Arc::default())
}

/// Records appended before the lock is let go: about 50 µs at 50 ns a record.
const APPENDS_PER_LOCK: usize = 1_000;
