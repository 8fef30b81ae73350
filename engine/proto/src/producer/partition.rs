//! The queue of one partition: batches in order, oldest first, until each is resolved.
//!
//! **Invariants.** A batch is sent only when all older ones are in flight, so that sequences
//! reach the broker in order. At most `in_flight_max` consecutive batches are unresolved once
//! sent, because brokers recognise a duplicate only among the last five. A batch that failed
//! keeps its sequence; sequences start again, under the next epoch, only when the broker rejected
//! the oldest unresolved batch *and* nothing of this partition is in flight. The first batch of a
//! sequence goes alone.
//! Never here: other partitions, nodes, what an error code means.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use engine_wire::record_batch::sequence_after;
use uuid::Uuid;

use super::delivery::DeliveryError;
use crate::{
    accumulator::{AssignedSequence, Batch, BatchId, BatchState},
    sequence::ProducerIdentity,
};

#[derive(Debug)]
pub(super) struct PartitionQueue<T> {
    pub(super) topic: Arc<str>,
    pub(super) topic_index: usize,
    pub(super) partition: i32,
    pub(super) leader_id: Option<i32>,
    pub(super) batches: VecDeque<Batch<T>>,
    identity: Option<ProducerIdentity>,
    pub(super) is_transactional: bool,
    pub(super) next_sequence: i32,
    next_ordinal: u64,
    /// A batch was acknowledged since the sequences began, and since the topic was missing. Until then batches go
    /// one by one: a broker takes any sequence of a producer that it does not know (KIP-360), so it could take a
    /// second batch and then refuse the first, or have refused it before.
    pub(super) is_established: bool,
    /// A request of this epoch named the topic by its name: it may have reached a topic that nobody had heard of.
    pub(super) went_by_name: bool,
    /// Sequences start again as soon as nothing is in flight.
    pub(super) is_restarting: bool,
    /// The topic was deleted and created anew, with this id, and what was in flight then is not all back yet.
    another_log: Option<Uuid>,
    pub(super) failures: u32,
    pub(super) retry_at: Option<Instant>,
    /// Size of the batch that was closed last: the next one is likely to need as much memory.
    pub(super) last_batch_bytes: usize,
}

/// What became of a wish to start sequences again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// Not asked for, or something is still in flight.
    NotNow,
    /// Done, under the next epoch.
    Done,
    /// The epochs of this producer id are used up.
    NeedsNewProducerId,
}

impl<T> PartitionQueue<T> {
    pub(super) fn new(topic: Arc<str>, topic_index: usize, partition: i32, is_transactional: bool) -> Self {
        Self {
            topic,
            topic_index,
            partition,
            leader_id: None,
            batches: VecDeque::new(),
            identity: None,
            is_transactional,
            next_sequence: 0,
            next_ordinal: 0,
            is_established: false,
            went_by_name: false,
            is_restarting: false,
            another_log: None,
            failures: 0,
            retry_at: None,
            last_batch_bytes: 0,
        }
    }

    pub(super) fn push_open(&mut self, mut batch: Batch<T>) {
        assert!(
            !self.batches.back().is_some_and(Batch::is_open),
            "one open batch per partition"
        );
        batch.ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        self.batches.push_back(batch);
    }

    pub(super) fn open_batch(&mut self) -> Option<&mut Batch<T>> {
        self.batches.back_mut().filter(|batch| batch.is_open())
    }

    /// Whether the open batch's arena has room for so much more without growing.
    #[inline]
    pub(super) fn has_open_room(&self, record_bytes: usize) -> bool {
        match self.batches.back().map(|batch| &batch.state) {
            Some(BatchState::Open(builder)) => builder.size_bytes() + record_bytes <= builder.capacity_bytes(),
            _ => false,
        }
    }

    pub(super) fn find(&self, id: BatchId) -> Option<usize> {
        self.batches.iter().position(|batch| batch.id == id)
    }

    /// As [`find`](Self::find), from the newest batch on: where batches are sealed.
    pub(super) fn find_newest(&self, id: BatchId) -> Option<usize> {
        self.batches.iter().rposition(|batch| batch.id == id)
    }

    /// Closes the open batch: it takes no more records and can be sealed.
    pub(super) fn close(&mut self) {
        if let Some(batch) = self.open_batch() {
            let BatchState::Open(builder) = std::mem::replace(&mut batch.state, BatchState::Sealing) else {
                unreachable!("open_batch() is open");
            };
            let batch_bytes = builder.size_bytes();
            batch.state = BatchState::Closed(builder);
            self.last_batch_bytes = batch_bytes;
            self.assign();
        }
    }

    /// Whether a batch, if it were ready now, could be sent behind those in flight.
    pub(super) fn is_next_sendable(&self, now: Instant, in_flight_max: usize) -> bool {
        let waits = self.retry_at.is_some_and(|retry_at| retry_at > now);
        let goes_alone = self.identity.is_some() && !self.is_established;
        let in_flight_max = if goes_alone { 1 } else { in_flight_max };
        let is_between = self.is_restarting || self.another_log.is_some();
        !is_between && !waits && self.in_flight_count() < in_flight_max && self.has_ordinal_room(in_flight_max)
    }

    /// The index of the batch to send next, if one may be sent now.
    pub(super) fn sendable(&self, now: Instant, in_flight_max: usize, is_idempotent: bool) -> Option<usize> {
        let index = self.first_waiting()?;
        let batch = &self.batches[index];
        let is_ready = matches!(batch.state, BatchState::Ready { .. });
        let may = is_ready && (!is_idempotent || batch.sequence.is_some()) && self.is_next_sendable(now, in_flight_max);
        may.then_some(index)
    }

    /// The oldest batch that is not in flight.
    pub(super) fn first_waiting(&self) -> Option<usize> {
        self.batches.iter().position(|batch| !batch.is_in_flight())
    }

    /// Batches that are not in flight, the open one included.
    pub(super) fn waiting_count(&self) -> usize {
        self.batches.len() - self.in_flight_count()
    }

    fn in_flight_count(&self) -> usize {
        // Batches are sent in order: behind the first that never was, none is in flight.
        let sent = self.batches.iter().take_while(|batch| batch.attempts > 0);
        sent.filter(|batch| batch.is_in_flight()).count()
    }

    /// Whether the batch to send next would not be one too many in doubt. A split moves batches up that were sent before: as
    /// long as one of them lies out of reach, only the oldest is sent.
    fn has_ordinal_room(&self, in_flight_max: usize) -> bool {
        let Some(index) = self.first_waiting() else {
            return true;
        };
        let sent = self.batches.iter().take_while(|batch| batch.attempts > 0);
        let youngest = sent.map(|batch| batch.ordinal).max().unwrap_or(0);
        let ordinal = youngest.max(self.batches[index].ordinal);
        index == 0 || ordinal < self.batches[0].ordinal + in_flight_max as u64
    }

    /// Takes a producer's identity; only a partition that has none, or whose epochs are used up, needs it.
    pub(super) fn identify(&mut self, identity: ProducerIdentity) {
        if self.identity.is_none() {
            self.identity = Some(identity);
            self.next_sequence = 0;
            self.is_established = false;
            self.assign();
        }
    }

    /// Starts sequences under the epoch of the next transaction; nothing of the one before is left.
    pub(super) fn begin_epoch(&mut self, identity: ProducerIdentity) {
        assert!(self.batches.is_empty(), "a transaction ends after its last batch");
        self.identity = Some(identity);
        self.next_sequence = 0;
        self.is_established = false;
        self.went_by_name = false;
        (self.failures, self.retry_at) = (0, None);
    }

    /// Gives sequences to all closed batches that have none, in order.
    pub(super) fn assign(&mut self) {
        let Some(identity) = self.identity else {
            return;
        };
        for batch in &mut self.batches {
            if batch.sequence.is_none() && !batch.is_open() {
                let base_sequence = self.next_sequence;
                self.next_sequence = sequence_after(base_sequence, batch.record_count);
                batch.sequence = Some(AssignedSequence {
                    identity,
                    base_sequence,
                    is_transactional: self.is_transactional,
                });
            }
        }
    }

    /// The topic is another one by the same name now, whose log knows nothing of this producer.
    pub(super) fn begin_log(&mut self, topic_id: Uuid) {
        self.another_log = Some(topic_id);
    }

    /// Sequences start again in a log that knows nothing of this producer. What may be there already, because it went by
    /// name, goes again with its sequence, so that the broker finds it.
    fn adapt_to_log(&mut self, topic_id: Uuid) {
        let was_used = self.is_established || self.batches.iter().any(|batch| batch.attempts > 0);
        if was_used && self.is_transactional {
            // The epoch is all partitions' own, and brokers take nothing but sequence 0 from a stranger in it (KIP-890).
            // Those from before KIP-890 take any, and to them topics may go by name.
            let may_be_there = self.batches.iter().any(|batch| batch.doubt.includes(topic_id));
            if !self.went_by_name && !may_be_there {
                self.restart_at_zero();
            }
        } else if was_used && self.identity.is_some() {
            // A step back, to a log that has some of these under their old sequences, would write them twice: rather
            // rely on brokers that take any sequence of a stranger (KIP-360).
            self.is_restarting |= !self.batches.iter().any(Batch::may_be_written);
        }
        self.is_established = false;
        (self.failures, self.retry_at) = (0, None); // The new log has given no reason to wait.
    }

    /// Starts sequences again under the next epoch, if that was asked for and can be done now.
    pub(super) fn try_restart(&mut self) -> Restart {
        if self.in_flight_count() > 0 {
            return Restart::NotNow;
        }
        if let Some(topic_id) = self.another_log.take() {
            self.adapt_to_log(topic_id);
        }
        if !self.is_restarting {
            return Restart::NotNow;
        }
        let next = self.identity.and_then(ProducerIdentity::next_epoch);
        self.identity = next;
        self.is_restarting = false;
        self.is_established = false;
        self.restart_at_zero();
        match next {
            Some(_) => Restart::Done,
            None => Restart::NeedsNewProducerId,
        }
    }

    fn restart_at_zero(&mut self) {
        self.next_sequence = 0;
        for batch in &mut self.batches {
            batch.sequence = None;
        }
        self.assign();
    }

    /// Takes a batch out. Batches behind one that was never sent move up in the sequence; behind one
    /// that was sent, a gap may remain: if the broker does not have it, it will reject what follows,
    /// and sequences start again then.
    pub(super) fn remove(&mut self, index: usize) -> Batch<T> {
        let removed = self.batches.remove(index).expect("the index is in the queue");
        if removed.attempts == 0
            && let Some(gone) = removed.sequence
        {
            self.next_sequence = gone.base_sequence;
            for batch in self.batches.iter_mut().skip(index) {
                assert_eq!(batch.attempts, 0, "batches are sent in order");
                batch.sequence = None;
            }
            self.assign();
        }
        removed
    }

    /// The error of a batch that is given up.
    pub(super) fn expired(&self, index: usize) -> DeliveryError {
        let batch = &self.batches[index];
        DeliveryError::Expired {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            timeout: batch.deadline.saturating_duration_since(batch.opened),
            attempts: batch.attempts,
            may_be_written: batch.may_be_written(),
            last_error: batch
                .last_error
                .as_deref()
                .unwrap_or(if self.leader_id.is_none() {
                    "the partition has no leader"
                } else {
                    "its leader was not reached"
                })
                .to_owned(),
        }
    }

    /// Replaces a batch by its two halves, which keep its place and its sequences.
    pub(super) fn replace(&mut self, index: usize, halves: [Batch<T>; 2]) {
        let [mut first, mut second] = halves;
        let whole = self.batches.remove(index).expect("the index is in the queue");
        first.sequence = whole.sequence;
        second.sequence = whole.sequence.map(|assigned| AssignedSequence {
            base_sequence: sequence_after(assigned.base_sequence, first.record_count),
            ..assigned
        });
        (first.ordinal, second.ordinal) = (whole.ordinal, whole.ordinal + 1);
        self.batches.insert(index, second);
        self.batches.insert(index, first);
        for batch in self.batches.iter_mut().skip(index + 2) {
            batch.ordinal += 1;
        }
        self.next_ordinal += 1;
    }
}
