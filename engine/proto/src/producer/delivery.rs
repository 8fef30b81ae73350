//! How a batch ends: acknowledged, refused, expired, aborted.
//!
//! Also the timers, because expiry is one of them. Three: a batch lingers (and is left by the sticky choice), a partition
//! backs off, a batch expires. Never here: sending.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engine_wire::{compression::CompressError, error_code::ErrorCode};

use super::ProducerMachine;
use crate::accumulator::{BatchId, BatchState};

/// The end of a batch, or of a half of one that was split.
#[derive(Debug)]
pub struct BatchOutcome<T> {
    /// The driver's token.
    pub token: T,
    /// Place of its first record among the token's records.
    pub first_record: u32,
    /// Its records.
    pub record_count: u32,
    /// What became of them.
    pub result: Result<BatchDelivered, DeliveryError>,
}

/// An acknowledged batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchDelivered {
    /// The first record's offset. `None` if the broker did not tell: `acks = 0`, or a retry whose
    /// first attempt turned out to have been written.
    pub base_offset: Option<i64>,
    /// The time of the append, in topics with LogAppendTime.
    pub log_append_time_ms: Option<i64>,
}

/// A point in the stream of appended records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushMark(BatchId);

/// Why the records of a batch are not known to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// No acknowledgement in time, all retries included.
    #[error(
        "{topic}-{partition}: not acknowledged within {} ms, {attempts} attempts; last: {last_error}; {}",
        timeout.as_millis(), written(*may_be_written)
    )]
    Expired {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// `delivery.timeout.ms`.
        timeout: Duration,
        /// Times sent.
        attempts: u32,
        /// Whether a broker may have the records all the same: an attempt was answered late, not at all, or with an error
        /// that comes after the append. Sending them again may then write them twice.
        may_be_written: bool,
        /// What the last attempt failed with.
        last_error: String,
    },
    /// The broker does not take the records.
    #[error("{topic}-{partition}: refused: {reason}{}", earlier(*may_be_written))]
    Refused {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The broker's error; `None` if the request cannot even be sent.
        code: Option<ErrorCode>,
        /// The explanation.
        reason: String,
        /// Whether a broker may have the records all the same, of this or an earlier attempt.
        may_be_written: bool,
    },
    /// The batch cannot be compressed.
    #[error("{topic}-{partition}: batch cannot be written")]
    NotWritable {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// Why.
        #[source]
        source: CompressError,
    },
    /// The producer was closed before the records were acknowledged.
    #[error("{topic}-{partition}: {reason}; {}", written(*may_be_written))]
    Aborted {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// What ended the producer.
        reason: Arc<str>,
        /// Whether a broker may have the records all the same: they were on their way.
        may_be_written: bool,
    },
}

impl DeliveryError {
    /// Whether a broker may have the records although it did not acknowledge them. If not, sending them again cannot
    /// write them twice.
    pub fn may_be_written(&self) -> bool {
        match self {
            Self::Expired { may_be_written, .. }
            | Self::Refused { may_be_written, .. }
            | Self::Aborted { may_be_written, .. } => *may_be_written,
            Self::NotWritable { .. } => false,
        }
    }
}

fn written(may_be_written: bool) -> &'static str {
    match may_be_written {
        true => "the records may have been written",
        false => "the records were not written",
    }
}

fn earlier(may_be_written: bool) -> &'static str {
    match may_be_written {
        true => "; the records may have been written",
        false => "",
    }
}

impl BatchDelivered {
    pub(super) const UNKNOWN: Self = Self {
        base_offset: None,
        log_append_time_ms: None,
    };
}

impl<T: Clone> ProducerMachine<T> {
    /// The end of a batch to tell.
    pub fn poll_outcome(&mut self) -> Option<BatchOutcome<T>> {
        self.outcomes.pop_front()
    }

    /// Whether no batch is unresolved.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// What is open now does not linger any more. The mark is passed when all that was appended until
    /// now is resolved.
    pub fn flush(&mut self) -> FlushMark {
        self.flush_before = self.next_batch_id;
        FlushMark(self.next_batch_id)
    }

    /// Whether everything appended before the mark is resolved.
    pub fn is_flushed(&self, mark: FlushMark) -> bool {
        let batches = self.active.iter().flat_map(|index| &self.partitions[*index].batches);
        let mut unresolved = batches.filter(|batch| !batch.is_reported);
        !unresolved.any(|batch| batch.original_id < mark.0)
    }

    /// The node cannot be reached: its batches wait, and metadata may know another leader.
    pub fn handle_unreachable(&mut self, node_id: i32, reason: &Arc<str>) {
        self.wants_metadata = true;
        for index in &self.active {
            let queue = &mut self.partitions[*index];
            if queue.leader_id == Some(node_id)
                && let Some(waiting) = queue.first_waiting()
            {
                queue.batches[waiting].last_error = Some(Arc::clone(reason));
            }
        }
    }

    /// Takes no more records; what is there is still sent, without lingering. A transaction that is open is aborted.
    pub fn close(&mut self) {
        self.is_closed = true;
        self.flush();
        if let Some(transaction) = &mut self.transaction {
            transaction.close();
        }
        self.settle_transaction();
    }

    /// Whether no more records are taken.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether the closed producer has nothing left to do.
    pub fn is_done(&self) -> bool {
        self.is_closed
            && self.is_idle()
            && !self
                .transaction
                .as_ref()
                .is_some_and(|transaction| transaction.is_ending())
    }

    /// Ends every batch with an error; what is in flight may still be written.
    pub fn abort(&mut self, reason: &Arc<str>) {
        if !self.is_closed {
            self.gave_up = Some(Arc::clone(reason));
        }
        self.is_closed = true;
        if let Some(transaction) = &mut self.transaction {
            transaction.give_up(reason);
        }
        self.drop_batches(reason, true);
        self.seal_queue.clear();
    }

    /// Lets time pass: closes batches that are due, gives up those that expired.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.bound_the_end(now);
        for partition in self.active.iter().copied().collect::<Vec<_>>() {
            self.expire(partition, now);
            let queue = &mut self.partitions[partition];
            if queue.retry_at.is_some_and(|retry_at| retry_at <= now) {
                queue.retry_at = None;
            }
            if self.sticky_until(partition).is_some_and(|until| until <= now) {
                let queue = &self.partitions[partition];
                self.topics[queue.topic_index].sticky.handle_lingered(queue.partition);
            }
            if self.due(partition, now).is_some_and(|due| due <= now) {
                self.close_open(partition);
            }
            self.try_restart(partition);
        }
        for node in self.nodes.values_mut() {
            if node.muted_until.is_some_and(|until| until <= now) {
                node.muted_until = None;
            }
        }
        self.settle_transaction();
    }

    /// A closed producer leaves a transaction that it cannot end to the coordinator, which aborts it in the end.
    fn bound_the_end(&mut self, now: Instant) {
        if !self.is_closed {
            return;
        }
        let Some(transaction) = self.transaction.as_mut().filter(|transaction| transaction.is_ending()) else {
            self.give_up_at = None;
            return;
        };
        let give_up_at = *self.give_up_at.get_or_insert(now + self.options.delivery_timeout);
        if give_up_at <= now {
            transaction.give_up(&"the producer was closed, and the transaction could not be ended".into());
        }
    }

    /// When to call [`ProducerMachine::handle_timeout`] next, if nothing else happens.
    pub fn poll_deadline(&self, now: Instant) -> Option<Instant> {
        let partitions = self.active.iter().flat_map(|index| {
            let queue = &self.partitions[*index];
            let expiry = queue.batches.iter().find(|batch| !batch.is_reported);
            [
                self.due(*index, now),
                self.sticky_until(*index),
                queue.retry_at,
                expiry.map(|batch| batch.deadline),
            ]
        });
        let nodes = self.nodes.values().map(|node| node.muted_until);
        let retry = self
            .transaction
            .as_ref()
            .and_then(|transaction| transaction.poll_deadline(now));
        partitions.chain(nodes).chain([retry, self.give_up_at]).flatten().min()
    }

    /// When the partition's open batch must be closed; `None` while it could not be sent anyway, so
    /// that it fills up instead.
    fn due(&self, partition: usize, now: Instant) -> Option<Instant> {
        let queue = &self.partitions[partition];
        let open = queue.batches.back().filter(|batch| batch.is_open())?;
        let is_next = queue.first_waiting() == Some(queue.batches.len() - 1);
        if !is_next || !queue.is_next_sendable(now, self.options.in_flight_max) {
            return None;
        }
        if open.id < self.flush_before || self.is_memory_short {
            return Some(now);
        }
        Some(open.opened + self.options.linger)
    }

    /// When the topic's sticky choice leaves the partition because its open batch has lingered, also if that cannot be
    /// sent.
    fn sticky_until(&self, partition: usize) -> Option<Instant> {
        let queue = &self.partitions[partition];
        let is_current = self.topics[queue.topic_index].sticky.current() == Some(queue.partition);
        let open = queue.batches.back().filter(|batch| is_current && batch.is_open())?;
        Some(open.opened + self.options.linger)
    }

    pub(super) fn close_open(&mut self, partition: usize) {
        let queue = &mut self.partitions[partition];
        let Some(batch) = queue.open_batch() else {
            return;
        };
        let id = batch.id;
        queue.close();
        self.seal_queue.push_back((partition, id));
    }

    fn expire(&mut self, partition: usize, now: Instant) {
        let mut index = 0;
        while let Some(batch) = self.partitions[partition].batches.get(index) {
            if batch.deadline > now {
                return; // Batches behind it are younger.
            }
            let is_away = matches!(batch.state, BatchState::InFlight { .. } | BatchState::Sealing);
            if batch.is_reported {
                index += 1;
            } else if is_away {
                // Tell now, but keep its place until the answer says what the broker has.
                let error = self.partitions[partition].expired(index);
                let batch = &mut self.partitions[partition].batches[index];
                batch.is_reported = true;
                self.outcomes.push_back(BatchOutcome {
                    token: batch.token.clone(),
                    first_record: batch.first_record,
                    record_count: batch.record_count as u32,
                    result: Err(error.clone()),
                });
                self.stats.records_failed += batch.record_count as u64;
                self.fail_transaction(&error, true);
                index += 1;
            } else {
                let error = self.partitions[partition].expired(index);
                self.resolve(partition, index, Err(error));
                let leader_id = self.partitions[partition].leader_id;
                if let Some(node) = leader_id.and_then(|leader_id| self.nodes.get_mut(&leader_id)) {
                    // Nothing may be left that would show that it takes batches again.
                    (node.blocked_since, node.is_slow) = (None, false);
                }
            }
        }
    }

    /// Takes a batch out of its queue and tells its token.
    pub(super) fn resolve(&mut self, partition: usize, index: usize, result: Result<BatchDelivered, DeliveryError>) {
        let queue = &mut self.partitions[partition];
        let batch = queue.remove(index);
        if queue.batches.is_empty() {
            self.active.remove(&partition);
        }
        self.memory.release(batch.charged_bytes);
        self.is_memory_short = false;
        if let Err(error) = &result {
            self.fail_transaction(error, batch.attempts > 0);
        }
        if let BatchState::Ready { sealed, .. } = batch.state
            && let Some(buffer) = sealed.into_buffer()
        {
            self.memory.keep_spare(buffer);
        }
        if batch.is_reported {
            return;
        }
        let record_count = batch.record_count as u32;
        match &result {
            Ok(_) => self.stats.records_delivered += u64::from(record_count),
            Err(_) => self.stats.records_failed += u64::from(record_count),
        }
        self.outcomes.push_back(BatchOutcome {
            token: batch.token,
            first_record: batch.first_record,
            record_count,
            result,
        });
    }
}
