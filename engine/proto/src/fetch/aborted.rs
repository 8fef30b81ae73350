//! Which batches `read_committed` must not see.
//!
//! A Fetch answer comes with the aborted transactions that overlap it, in no promised order. A
//! transaction counts as aborted from its first offset to its producer's next abort marker. A
//! marker without an open aborted transaction (one that wrote nothing here) ends nothing, and so
//! cannot swallow or reveal what the producer writes later. Compression does not matter: the
//! producer is in the batch header.
//! Never here: positions; control batches are stepped over by the caller.

use std::{cmp::Reverse, collections::BinaryHeap, collections::HashSet};

use engine_wire::record_batch::BATCH_HEADER_BYTES;
use engine_wire::record_batch::{BatchHeader, ControlRecord, RawBatch, RecordIter};

/// The filter for the batches of one answer, in offset order.
#[derive(Debug, Default)]
pub struct AbortedFilter {
    pending: BinaryHeap<Reverse<(i64, i64)>>,
    aborted_producers: HashSet<i64>,
}

impl AbortedFilter {
    /// Takes `(producer_id, first_offset)` of each aborted transaction.
    pub fn new(aborted: impl IntoIterator<Item = (i64, i64)>) -> AbortedFilter {
        let by_offset = aborted.into_iter().map(|(producer, first)| Reverse((first, producer)));
        AbortedFilter {
            pending: by_offset.collect(),
            aborted_producers: HashSet::new(),
        }
    }

    /// Whether the records of the next batch were aborted. Must see every batch, control batches
    /// included.
    pub fn is_aborted(&mut self, batch: &RawBatch) -> bool {
        let header = &batch.header;
        while let Some(Reverse((first_offset, producer_id))) = self.pending.peek()
            && *first_offset <= header.last_offset()
        {
            self.aborted_producers.insert(*producer_id);
            self.pending.pop();
        }
        if header.producer_id < 0 || !header.is_transactional() {
            return false;
        }
        if header.is_control() {
            if is_abort_marker(header, batch) {
                self.aborted_producers.remove(&header.producer_id);
            }
            return false;
        }
        self.aborted_producers.contains(&header.producer_id)
    }
}

fn is_abort_marker(header: &BatchHeader, batch: &RawBatch) -> bool {
    // Coordinators never compress control batches; one that cannot be read is no marker.
    let Some(payload) = batch.bytes.get(BATCH_HEADER_BYTES..) else {
        return false;
    };
    let Ok(mut records) = RecordIter::new(header, payload) else {
        return false;
    };
    let Some(Ok(record)) = records.next() else { return false };
    matches!(ControlRecord::parse(&record), Ok(ControlRecord::Abort { .. }))
}
