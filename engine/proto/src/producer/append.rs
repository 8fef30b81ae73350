//! Records into batches: the hot path.
//!
//! Per record: one look at the topic's sticky partition (or a hash of the key), one bounds check
//! against the batch and the memory budget, one encoding into the arena. The clock is read and the
//! token made only when a batch opens.

use std::{sync::Arc, time::Instant};

use engine_wire::record_batch::{
    BATCH_HEADER_BYTES, BatchBuilder, HEADER_OVERHEAD_BYTES_MAX, Header, RECORD_OVERHEAD_BYTES_MAX,
};

use super::{ProducerMachine, ProducerOptions, ProducerStats, transaction::error::TransactionError};
use crate::{
    accumulator::{Batch, BatchState, Doubt},
    partitioner::{Candidate, partition_for_key},
};

/// One record to append; borrows everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct TopicRecord<'a> {
    /// Fixed partition, or `None` to choose by key or stickiness.
    pub partition: Option<i32>,
    /// Milliseconds since 1970; `None` takes the time at which the record's batch was opened, at most
    /// `linger.ms` and the time spent waiting for the broker ago.
    pub timestamp: Option<i64>,
    /// `None` is null.
    pub key: Option<&'a [u8]>,
    /// `None` is null, a tombstone in compacted topics.
    pub value: Option<&'a [u8]>,
    /// In order, duplicates kept.
    pub headers: &'a [Header<'a>],
}

/// Where a record went.
#[derive(Debug)]
pub struct Appended<'a, T> {
    /// The token of its batch.
    pub token: &'a T,
    /// Its place among the token's records.
    pub record: u32,
    /// The partition.
    pub partition: i32,
    /// The driver has something to do now: a batch is full, or a first one opened and lingers.
    pub is_news: bool,
}

/// Why a record was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// `buffer.memory` is used up: try again after a batch is resolved.
    #[error("the buffer of {buffer_bytes_max} bytes is full")]
    BufferFull {
        /// `buffer.memory`.
        buffer_bytes_max: usize,
    },
    /// The topic is not known (yet).
    #[error("topic {topic} is not known")]
    UnknownTopic {
        /// The topic.
        topic: String,
    },
    /// The topic has no such partition.
    #[error("{topic} has partitions 0 to {}, not {partition}", partition_count - 1)]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: i32,
        /// How many there are.
        partition_count: i32,
    },
    /// No request, or no batch, could carry the record.
    #[error(
        "{topic}: a batch of the record alone takes {batch_bytes} bytes, more than {bytes_max}, the least of `max.request.size` and `buffer.memory`"
    )]
    RecordTooLarge {
        /// The topic.
        topic: String,
        /// The size of a batch with nothing else in it, before compression.
        batch_bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
    /// The producer cannot go on, and nobody closed it.
    #[error("the producer gave up: {reason}")]
    GaveUp {
        /// What ended it.
        reason: Arc<str>,
    },
    /// A transactional producer sends inside of transactions only.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl<T: Clone> ProducerMachine<T> {
    /// The handle of a topic for [`ProducerMachine::append`], once metadata has it.
    pub fn topic_index(&self, topic: &str) -> Option<usize> {
        self.topic_indexes.get(topic).copied()
    }

    /// The number of partitions, once metadata has the topic.
    pub fn partition_count(&self, topic: &str) -> Option<i32> {
        Some(self.topics[self.topic_index(topic)?].partition_count)
    }

    /// Fails if no record is taken any more, of whatever topic.
    pub fn check_open(&self) -> Result<(), AppendError> {
        match (&self.gave_up, self.is_closed) {
            (Some(reason), _) => Err(AppendError::GaveUp {
                reason: Arc::clone(reason),
            }),
            (None, true) => Err(AppendError::Closed),
            (None, false) => Ok(()),
        }
    }

    /// Encodes a record into its partition's open batch. `open` is called if a batch opens: it gives the
    /// time, the wall clock in ms and the batch's token.
    pub fn append(
        &mut self,
        topic_index: usize,
        record: &TopicRecord<'_>,
        open: impl FnOnce() -> (Instant, i64, T),
    ) -> Result<Appended<'_, T>, AppendError> {
        if self.is_closed {
            self.check_open()?;
        }
        if let Some(transaction) = &self.transaction {
            transaction.check_open("send")?;
        }
        let headers = record
            .headers
            .iter()
            .map(|header| HEADER_OVERHEAD_BYTES_MAX + header.key.len() + header.value.map_or(0, <[u8]>::len));
        let record_bytes = RECORD_OVERHEAD_BYTES_MAX
            + record.key.map_or(0, <[u8]>::len)
            + record.value.map_or(0, <[u8]>::len)
            + headers.sum::<usize>();
        let bytes_max = self.options.request_bytes_max.min(self.options.buffer_bytes_max);
        if BATCH_HEADER_BYTES + record_bytes > bytes_max.min(i32::MAX as usize) {
            // The bound is a few bytes too careful for a record that just fits.
            let headers = record.headers.iter().copied();
            let batch_bytes = BatchBuilder::lone_batch_bytes(record.key, record.value, headers);
            if batch_bytes > bytes_max || record_bytes > RECORD_BYTES_MAX {
                let topic = self.topics[topic_index].name.to_string();
                return Err(AppendError::RecordTooLarge {
                    topic,
                    batch_bytes,
                    bytes_max,
                });
            }
        }
        let mut is_news = false;
        let mut index = self.choose_partition(topic_index, record)?;
        let fits = self.partitions[index].has_open_room(record_bytes);
        // A batch may have to open for it, and its header takes memory too.
        if !fits && !self.memory.has_room(BATCH_HEADER_BYTES + record_bytes) {
            self.is_memory_short = true;
            self.stats.buffer_full += 1;
            let buffer_bytes_max = self.options.buffer_bytes_max;
            return Err(AppendError::BufferFull { buffer_bytes_max });
        }
        let batch_bytes_max = self.options.batch_bytes_max;
        let mut header_bytes = 0;
        let is_full = |batch: &Batch<T>| match &batch.state {
            BatchState::Open(builder) => !builder.is_empty() && builder.size_bytes() + record_bytes > batch_bytes_max,
            _ => false,
        };
        if self.partitions[index].open_batch().is_some_and(|batch| is_full(batch)) {
            self.close_open(index);
            is_news = true;
            index = self.choose_partition(topic_index, record)?; // The sticky choice may have moved on.
            if self.partitions[index].open_batch().is_some_and(|batch| is_full(batch)) {
                self.close_open(index);
            }
        }
        if self.partitions[index].open_batch().is_none() {
            let (now, wall_ms, token) = open();
            self.open(index, now, wall_ms, token);
            is_news = true;
            header_bytes = BATCH_HEADER_BYTES;
        }
        if !self.partitions[index].has_open_room(record_bytes) {
            self.grow(index, record_bytes);
        }
        let queue = &mut self.partitions[index];
        let partition = queue.partition;
        let batch = queue.open_batch().expect("opened above");
        let BatchState::Open(builder) = &mut batch.state else {
            unreachable!("open_batch() is open");
        };
        let before = builder.size_bytes();
        let timestamp = record.timestamp.unwrap_or(batch.opened_ms);
        let headers = record.headers.iter().copied();
        builder
            .append(timestamp, record.key, record.value, headers)
            .expect("a record below max.request.size fits the format");
        let added = builder.size_bytes() - before;
        if self.options.is_sticky(record) {
            let is_batch_open = builder.size_bytes() < batch_bytes_max;
            let sticky = &mut self.topics[topic_index].sticky;
            sticky.handle_appended(header_bytes + added, is_batch_open, batch_bytes_max);
        }
        let place = batch.record_count as u32;
        batch.record_count += 1;
        self.stats.records += 1;
        self.stats.record_bytes += added as u64;
        Ok(Appended {
            token: &batch.token,
            record: place,
            partition,
            is_news,
        })
    }

    /// Whether an append found the buffer full and nothing was resolved since.
    pub fn is_memory_short(&self) -> bool {
        self.is_memory_short
    }

    /// The counters, with the gauges as of now.
    pub fn stats(&self) -> ProducerStats {
        ProducerStats {
            buffered_bytes: self.memory.charged_bytes(),
            buffer_bytes_max: self.options.buffer_bytes_max,
            ..self.stats.clone()
        }
    }

    fn open(&mut self, index: usize, now: Instant, wall_ms: i64, token: T) {
        let spare = self.memory.take_spare(self.partitions[index].last_batch_bytes, 0);
        let builder = BatchBuilder::reusing(spare);
        let charged_bytes = builder.capacity_bytes();
        self.memory.charge(charged_bytes);
        let id = self.next_batch_id;
        self.next_batch_id += 1;
        self.partitions[index].push_open(Batch {
            id,
            original_id: id,
            token,
            first_record: 0,
            record_count: 0,
            charged_bytes,
            opened: now,
            opened_ms: wall_ms,
            deadline: now + self.options.delivery_timeout,
            state: BatchState::Open(builder),
            attempts: 0,
            doubt: Doubt::None,
            sequence: None,
            ordinal: 0,
            is_reported: false,
            last_error: None,
        });
        self.active.insert(index);
        if let Some(transaction) = &mut self.transaction {
            transaction.want_partition(index);
        }
    }

    /// Makes room for a record in the open batch: twice as much as before, though not beyond `batch.size` nor what is left
    /// of the memory.
    #[cold]
    fn grow(&mut self, index: usize, record_bytes: usize) {
        let batch = self.partitions[index].open_batch().expect("it was opened");
        let BatchState::Open(builder) = &mut batch.state else {
            unreachable!("open_batch() is open");
        };
        let before = builder.capacity_bytes();
        let needed = builder.size_bytes() + record_bytes;
        // All the room there is at the bound: each growth copies the batch, and there must not be one per record.
        let room = before + self.memory.room_bytes();
        let doubled = (2 * before).min(self.options.batch_bytes_max).min(room);
        builder.grow_to(needed.max(doubled));
        let added = builder.capacity_bytes() - before;
        batch.charged_bytes += added;
        self.memory.charge(added);
    }

    /// The machine's index of the record's partition.
    #[inline]
    fn choose_partition(&mut self, topic_index: usize, record: &TopicRecord<'_>) -> Result<usize, AppendError> {
        let topic = &self.topics[topic_index];
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) if !self.options.ignores_keys => partition_for_key(key, topic.partition_count),
            _ => match topic.sticky.current() {
                Some(partition) if !self.is_sticky_done(topic_index, partition) => partition,
                _ => self.choose_sticky(topic_index),
            },
        };
        let topic = &self.topics[topic_index];
        if !(0..topic.partition_count).contains(&partition) {
            return Err(AppendError::UnknownPartition {
                topic: topic.name.to_string(),
                partition,
                partition_count: topic.partition_count,
            });
        }
        Ok(topic.partitions[partition as usize])
    }

    /// Whether the topic's sticky partition got its share, and no open batch that more records could fill.
    fn is_sticky_done(&mut self, topic_index: usize, partition: i32) -> bool {
        let topic = &self.topics[topic_index];
        if !topic.sticky.has_enough(self.options.batch_bytes_max) {
            return false;
        }
        let index = topic.partitions[partition as usize];
        self.partitions[index].open_batch().is_none()
    }

    fn choose_sticky(&mut self, topic_index: usize) -> i32 {
        let topic = &mut self.topics[topic_index];
        let (partitions, nodes) = (&self.partitions, &self.nodes);
        let candidates = topic.partitions[..topic.partition_count as usize].iter().map(|index| {
            let queue = &partitions[*index];
            let leader = queue.leader_id.and_then(|leader_id| nodes.get(&leader_id));
            Candidate {
                partition: queue.partition,
                queue_length: queue.waiting_count(),
                is_available: queue.leader_id.is_some(),
                is_slow: leader.is_some_and(|leader| leader.is_slow),
            }
        });
        let candidates: Vec<Candidate> = candidates.collect();
        let chosen = topic
            .sticky
            .choose(&candidates, self.options.is_adaptive, &mut self.rng);
        chosen.expect("a known topic has partitions")
    }
}

impl ProducerOptions {
    /// Whether the record goes to the topic's sticky partition.
    fn is_sticky(&self, record: &TopicRecord<'_>) -> bool {
        record.partition.is_none() && (record.key.is_none() || self.ignores_keys)
    }
}

/// What fits behind the header of an empty batch, whose length is a 31-bit number.
const RECORD_BYTES_MAX: usize = i32::MAX as usize - BATCH_HEADER_BYTES;
