//! One replica of a partition: the broker's rules for producers, transactions and leader epochs.
//!
//! What a log knows of its producers follows from its batches alone, so that a log that was cut, or copied, knows the right
//! thing again. Never here: who leads, and how far the others have copied (see `partition`).

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use engine_wire::compression::{DecodeLimits, Decompressor};
use engine_wire::error_code::ErrorCode;
use engine_wire::record_batch::{BatchHeader, ControlRecord, RawBatch, place_batch, sequence_after};

/// A batch with its place.
#[derive(Clone, Debug)]
pub(crate) struct StoredBatch {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Bytes,
    /// The number that each record carries.
    pub(crate) values: Vec<u64>,
    pub(crate) marker: Option<ControlRecord>,
}

/// A transaction that ended in an abort marker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AbortedTransaction {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    pub(crate) last_offset: i64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ReplicaLog {
    pub(crate) batches: Vec<StoredBatch>,
    pub(crate) aborted: Vec<AbortedTransaction>,
    producers: HashMap<i64, ProducerEntry>,
    /// Where the open transaction of each producer began.
    open: BTreeMap<i64, i64>,
    /// Where each transaction that has ended began, and its marker.
    ended: Vec<(i64, i64)>,
    /// Producers whose last batch lies below this are forgotten.
    forgotten_below: i64,
}

#[derive(Clone, Debug)]
struct ProducerEntry {
    epoch: i16,
    /// 0 again after the marker of a newer epoch.
    next_sequence: i32,
    /// First sequence, last sequence and base offset of the last five batches.
    batches: VecDeque<(i32, i32, i64)>,
}

impl ReplicaLog {
    pub(crate) fn end_offset(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.header.next_offset())
    }

    /// Where the first transaction begins that is open, or whose marker not all replicas have yet.
    pub(crate) fn first_unstable_offset(&self, high_watermark: i64) -> i64 {
        let unreplicated = self.ended.iter().filter(|(_, marker)| *marker >= high_watermark);
        let first = self.open.values().chain(unreplicated.map(|(first, _)| first)).min();
        first.copied().unwrap_or(i64::MAX)
    }

    /// The number in the first record of the producer's open transaction.
    pub(crate) fn open_transaction(&self, producer_id: i64) -> Option<u64> {
        let first = self.open.get(&producer_id)?;
        let batch = self.batches.iter().find(|batch| batch.header.base_offset == *first)?;
        batch.values.first().copied()
    }

    /// The leader's check and append (`ProducerAppendInfo`, `ProducerStateManager`). `refuses_unknown`: as brokers before
    /// KIP-360, later ones take any sequence of a producer that they do not know.
    pub(crate) fn append(&mut self, records: &Bytes, leader_epoch: i32, refuses_unknown: bool) -> (ErrorCode, i64) {
        let batch = RawBatch::parse(records.clone()).expect("the producer writes whole batches");
        batch.verify_crc().expect("the producer stamps batches");
        let header = batch.header;
        if header.producer_id >= 0 {
            let (first, last) = sequences(&header);
            match self.producers.get(&header.producer_id) {
                None if first != 0 && refuses_unknown => return (ErrorCode::UNKNOWN_PRODUCER_ID, -1),
                None => {}
                Some(entry) if header.producer_epoch < entry.epoch => return (ErrorCode::INVALID_PRODUCER_EPOCH, -1),
                Some(entry) if header.producer_epoch > entry.epoch && first != 0 => {
                    return (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
                }
                Some(entry) if header.producer_epoch > entry.epoch => {}
                Some(entry) => {
                    if let Some(known) = entry.batches.iter().find(|known| (known.0, known.1) == (first, last)) {
                        return (ErrorCode::NONE, known.2);
                    }
                    if first != entry.next_sequence {
                        return (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
                    }
                }
            }
        }
        let base_offset = self.end_offset();
        let stored = store(place_batch(batch, base_offset, leader_epoch, None));
        self.push(stored);
        (ErrorCode::NONE, base_offset)
    }

    /// The coordinator's word at the end of a transaction.
    pub(crate) fn append_marker(&mut self, marker: ControlRecord, producer_id: i64, epoch: i16, leader_epoch: i32) {
        let batch = RawBatch::parse(marker.encode_batch(0, producer_id, epoch)).expect("our own encoding");
        let mut stored = store(place_batch(batch, self.end_offset(), leader_epoch, None));
        stored.marker = Some(marker);
        stored.values.clear();
        self.push(stored);
    }

    /// Takes over what the leader has, up to `end_offset`, after cutting off what it does not have. Both logs have the same
    /// batch at an offset if it has the same leader epoch in both.
    pub(crate) fn copy_from(&mut self, leader: &ReplicaLog, end_offset: i64) {
        let pairs = self.batches.iter().zip(&leader.batches);
        let same = pairs.take_while(|(mine, theirs)| place(mine) == place(theirs)).count();
        if same < self.batches.len() {
            self.cut_to(same);
        }
        for batch in &leader.batches[same..] {
            if batch.header.next_offset() > end_offset {
                return;
            }
            self.push(batch.clone());
        }
    }

    /// How much of this log the leader has, too.
    pub(crate) fn end_offset_within(&self, leader: &ReplicaLog) -> i64 {
        let pairs = self.batches.iter().zip(&leader.batches);
        let same = pairs.take_while(|(mine, theirs)| place(mine) == place(theirs));
        same.last().map_or(0, |(mine, _)| mine.header.next_offset())
    }

    /// Where an epoch ended and which one it was, as the leader of `current_epoch` answers OffsetForLeaderEpoch. `None` for an
    /// epoch that this leader never heard of.
    pub(crate) fn epoch_end(&self, leader_epoch: i32, current_epoch: i32) -> Option<(i32, i64)> {
        if leader_epoch > current_epoch {
            return None;
        }
        let mut floor = leader_epoch;
        for batch in &self.batches {
            let epoch = batch.header.partition_leader_epoch;
            if epoch > leader_epoch {
                return Some((floor, batch.header.base_offset));
            }
            floor = epoch;
        }
        let is_current = leader_epoch == current_epoch;
        Some((if is_current { leader_epoch } else { floor }, self.end_offset()))
    }

    /// Retention removed these batches, and with them what they told of their producers.
    pub(crate) fn forget_producers_below(&mut self, offset: i64) {
        self.forgotten_below = self.forgotten_below.max(offset);
        let last = |entry: &ProducerEntry| entry.batches.back().map_or(-1, |(_, _, base_offset)| *base_offset);
        let open = &self.open;
        self.producers
            .retain(|producer_id, entry| last(entry) >= offset || open.contains_key(producer_id));
    }

    fn cut_to(&mut self, batches: usize) {
        let kept: Vec<StoredBatch> = self.batches.drain(..batches).collect();
        let forgotten_below = self.forgotten_below;
        *self = Self::default();
        for batch in kept {
            self.push(batch);
        }
        self.forget_producers_below(forgotten_below);
    }

    fn push(&mut self, batch: StoredBatch) {
        let header = &batch.header;
        if let Some(marker) = batch.marker {
            let first = self.open.remove(&header.producer_id);
            self.ended.extend(first.map(|first| (first, header.base_offset)));
            if let (ControlRecord::Abort { .. }, Some(first_offset)) = (marker, first) {
                self.aborted.push(AbortedTransaction {
                    producer_id: header.producer_id,
                    first_offset,
                    last_offset: header.base_offset,
                });
            }
            if let Some(entry) = self.producers.get_mut(&header.producer_id)
                && header.producer_epoch > entry.epoch
            {
                entry.epoch = header.producer_epoch;
                entry.next_sequence = 0;
                entry.batches.clear();
            }
        } else if header.producer_id >= 0 {
            let (first, last) = sequences(header);
            let entry = self.producers.entry(header.producer_id).or_insert(ProducerEntry {
                epoch: header.producer_epoch,
                next_sequence: 0,
                batches: VecDeque::new(),
            });
            if header.producer_epoch > entry.epoch {
                entry.epoch = header.producer_epoch;
                entry.batches.clear();
            }
            entry.next_sequence = sequence_after(last, 1);
            entry.batches.push_back((first, last, header.base_offset));
            if entry.batches.len() > 5 {
                entry.batches.pop_front();
            }
            if header.is_transactional() {
                self.open.entry(header.producer_id).or_insert(header.base_offset);
            }
        }
        self.batches.push(batch);
    }
}

fn place(batch: &StoredBatch) -> (i64, i32) {
    (batch.header.base_offset, batch.header.partition_leader_epoch)
}

fn sequences(header: &BatchHeader) -> (i32, i32) {
    let first = header.base_sequence;
    (first, sequence_after(first, header.record_count - 1))
}

fn store(batch: RawBatch) -> StoredBatch {
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let records = batch.records(&mut decompressor).expect("our own codec");
    let values = records.map(|record| {
        let value = record.expect("our own encoding").value.expect("every value is there");
        value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    });
    let values = values.collect();
    StoredBatch {
        header: batch.header,
        bytes: batch.bytes,
        values,
        marker: None,
    }
}
