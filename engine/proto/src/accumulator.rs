//! Batches on their way from `append` to their acknowledgement, and the memory they take.
//!
//! Records are encoded once, straight into the batch's arena. Arenas are reused, so that a steady
//! stream allocates nothing. Every batch carries a token of the driver's: one completion per
//! batch, not per record.
//! Never here: partitions' order and retries (see `producer`).

use std::{collections::VecDeque, sync::Arc, time::Instant};

use bytes::Bytes;
use engine_wire::{
    compression::{DecodeLimits, Decompressor},
    record_batch::{BatchBuilder, ProducerStamp, RawBatch, SealedBatch},
};
use uuid::Uuid;

use crate::sequence::ProducerIdentity;

/// One batch. `T` is the driver's token.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) id: BatchId,
    /// The id it had before it was split.
    pub(crate) original_id: BatchId,
    pub(crate) token: T,
    /// Place of the batch's first record among the token's records; above 0 only after a split.
    pub(crate) first_record: u32,
    pub(crate) record_count: i32,
    /// Its memory, charged to the budget until the batch is done.
    pub(crate) charged_bytes: usize,
    pub(crate) opened: Instant,
    /// Wall clock of the opening in ms: the timestamp of records without one.
    pub(crate) opened_ms: i64,
    pub(crate) deadline: Instant,
    pub(crate) state: BatchState,
    /// Times sent so far.
    pub(crate) attempts: u32,
    /// Where it may be although no broker said so.
    pub(crate) doubt: Doubt,
    pub(crate) sequence: Option<AssignedSequence>,
    /// Counts the partition's batches: at most five in a row may be unresolved, because brokers
    /// remember five.
    pub(crate) ordinal: u64,
    /// Its token was told already (expired in flight); the answer still matters for what follows.
    pub(crate) is_reported: bool,
    pub(crate) last_error: Option<Arc<str>>,
}

/// Where the attempts may have left a batch that ended without the broker's word that it was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Nowhere.
    None,
    /// In the topic with this id, by which they went.
    In(Uuid),
    /// In whichever topic has, or had, the name.
    Anywhere,
}

impl Doubt {
    /// Another such attempt, by this id if it went by one.
    pub(crate) fn with(self, topic_id: Option<Uuid>) -> Self {
        match (self, topic_id) {
            (Doubt::None, Some(topic_id)) => Doubt::In(topic_id),
            (Doubt::In(known), Some(topic_id)) if known == topic_id => self,
            _ => Doubt::Anywhere,
        }
    }

    /// Whether the topic with this id may have the batch.
    pub(crate) fn includes(self, topic_id: Uuid) -> bool {
        match self {
            Doubt::None => false,
            Doubt::In(known) => known == topic_id,
            Doubt::Anywhere => true,
        }
    }
}

/// Names a batch within one producer.
pub(crate) type BatchId = u64;

/// ```text
/// Open ──full, due──▶ Closed ──▶ Sealing ──▶ Ready ──▶ InFlight ──▶ done
///                       ▲                      ▲  retry   │
///                       └──── too large: split ┴──────────┘
/// ```
#[derive(Debug)]
pub(crate) enum BatchState {
    /// Takes records.
    Open(BatchBuilder),
    /// Full or due; waits to be sealed.
    Closed(BatchBuilder),
    /// The driver compresses it.
    Sealing,
    /// Can be sent. `stamp` is what its bytes carry.
    Ready { sealed: Sealed, stamp: ProducerStamp },
    /// Sent; the answer is awaited.
    InFlight {
        sealed: Sealed,
        stamp: ProducerStamp,
        /// Nothing older of the partition was unresolved when it was sent.
        was_head: bool,
    },
}

/// A batch as it goes to the broker.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) batch: SealedBatch,
    /// The stamped bytes; shared with the request while it is written.
    pub(crate) records: Bytes,
}

impl Sealed {
    /// The buffer to reuse, unless a request still holds on to it.
    pub(crate) fn into_buffer(self) -> Option<Vec<u8>> {
        let Sealed { batch, records } = self;
        drop(records);
        batch.into_buffer()
    }
}

/// The place of a batch in its partition's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AssignedSequence {
    pub(crate) identity: ProducerIdentity,
    pub(crate) base_sequence: i32,
    pub(crate) is_transactional: bool,
}

impl<T> Batch<T> {
    /// What the batch must carry when it is sent.
    pub(crate) fn stamp(&self) -> ProducerStamp {
        self.sequence.map_or(ProducerStamp::NONE, |assigned| ProducerStamp {
            producer_id: assigned.identity.producer_id,
            producer_epoch: assigned.identity.producer_epoch,
            base_sequence: assigned.base_sequence,
            is_transactional: assigned.is_transactional,
        })
    }

    /// Whether the broker may have it although it never said so.
    pub(crate) fn may_be_written(&self) -> bool {
        self.doubt != Doubt::None || self.is_in_flight()
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        matches!(self.state, BatchState::InFlight { .. })
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, BatchState::Open(_))
    }
}

/// The budget of `buffer.memory`, and the arenas kept for reuse.
///
/// **Invariants.** What is charged is memory, not content: an arena counts with its capacity, or a few records in
/// each of many large arenas would be nearly free. Charges stay within the budget, except that one batch always fits.
/// Spares take what the charges leave of it; [`SPARES_KEPT`] batches' worth is kept beyond, so that a stream that
/// runs at the bound reuses its arenas, too.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes_max: usize,
    charged_bytes: usize,
    /// The oldest first.
    spares: VecDeque<Vec<u8>>,
    spare_bytes: usize,
    /// Spares that are kept although charges need the whole budget.
    spare_bytes_kept: usize,
}

impl Memory {
    pub(crate) fn new(bytes_max: usize, batch_bytes_max: usize) -> Self {
        Self {
            bytes_max,
            charged_bytes: 0,
            spares: VecDeque::new(),
            spare_bytes: 0,
            spare_bytes_kept: batch_bytes_max.saturating_mul(SPARES_KEPT).min(bytes_max),
        }
    }

    /// Whether `bytes` more fit. What fits an empty budget always fits in the end.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.charged_bytes == 0 || self.charged_bytes.saturating_add(bytes) <= self.bytes_max
    }

    /// What is left of the budget.
    pub(crate) fn room_bytes(&self) -> usize {
        self.bytes_max.saturating_sub(self.charged_bytes)
    }

    /// Charges what is allocated; spares make room for it.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.charged_bytes += bytes;
        while self.spare_bytes > self.spare_bytes_kept && self.charged_bytes + self.spare_bytes > self.bytes_max {
            let dropped = self.spares.pop_front().expect("their bytes are counted");
            self.spare_bytes -= dropped.capacity();
        }
    }

    pub(crate) fn release(&mut self, bytes: usize) {
        assert!(bytes <= self.charged_bytes, "more memory released than was charged");
        self.charged_bytes -= bytes;
    }

    pub(crate) fn charged_bytes(&self) -> usize {
        self.charged_bytes
    }

    /// An arena to reuse for about `wanted` bytes, or an empty one. It is not charged yet. One that is much larger
    /// stays for a batch that fills it: it would be charged, and held, for little. `returned` is what the taker will give
    /// back for it: at the bound a batch that is compressed changes its arena for another.
    pub(crate) fn take_spare(&mut self, wanted: usize, returned: usize) -> Vec<u8> {
        let large = wanted.max(SMALL_ARENA_BYTES).saturating_mul(2);
        let newest = self.spares.iter().enumerate().rev().take(SPARES_LOOKED_AT);
        let fitting = newest
            .filter(|(_, spare)| {
                let added = spare.capacity().saturating_sub(returned);
                spare.capacity() <= large && (added == 0 || self.has_room(added))
            })
            .max_by_key(|(_, spare)| spare.capacity().min(wanted));
        let Some((index, _)) = fitting else {
            return Vec::new();
        };
        let spare = self.spares.remove(index).expect("it was found there");
        self.spare_bytes -= spare.capacity();
        spare
    }

    /// Keeps an arena that is not charged any more, if there is room for it.
    pub(crate) fn keep_spare(&mut self, spare: Vec<u8>) {
        let spare_bytes = self.spare_bytes + spare.capacity();
        let fits = spare_bytes <= self.spare_bytes_kept || self.charged_bytes + spare_bytes <= self.bytes_max;
        if spare.capacity() >= SPARE_BYTES_MIN && fits {
            self.spare_bytes = spare_bytes;
            self.spares.push_back(spare);
        }
    }
}

/// One that records go to, and one that the next batch is compressed into.
const SPARES_KEPT: usize = 2;
/// Arenas up to twice this size are for any batch.
const SMALL_ARENA_BYTES: usize = 16 << 10;
/// Smaller ones are not worth a place in the queue.
const SPARE_BYTES_MIN: usize = 256;
/// A long queue of arenas of other sizes must not be searched for every batch.
const SPARES_LOOKED_AT: usize = 16;

/// Halves a batch that the broker found too large. `None` if it cannot be read back, which would
/// be our own mistake in writing it.
pub(crate) fn split(sealed: &mut SealedBatch, stamp: ProducerStamp) -> Option<[BatchBuilder; 2]> {
    let batch = RawBatch::parse(sealed.stamp(stamp)).ok()?;
    let mut decompressor = Decompressor::new(DecodeLimits {
        decompressed_bytes_max: sealed.uncompressed_bytes() + 1,
    });
    let count = batch.header.record_count;
    assert!(count > 1, "a batch of one record cannot be split");
    let mut halves = [BatchBuilder::default(), BatchBuilder::default()];
    let mut records = batch.records(&mut decompressor).ok()?;
    for index in 0..count {
        let record = records.next()?.ok()?;
        let half = &mut halves[usize::from(index >= (count + 1) / 2)];
        half.append(record.timestamp, record.key, record.value, record.headers)
            .ok()?;
    }
    Some(halves)
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn a_batch_that_is_compressed_at_the_bound_changes_its_arena_for_a_spare() {
        let (arena, budget) = (100_000, 400_000);
        let mut memory = Memory::new(budget, arena);
        memory.charge(budget);
        memory.keep_spare(Vec::with_capacity(arena));
        assert_eq!(memory.take_spare(arena, 0).capacity(), 0, "a batch more has no room");
        assert_eq!(memory.take_spare(arena, arena).capacity(), arena);
        assert_eq!(memory.take_spare(arena, arena).capacity(), 0, "there was one");
    }
}
