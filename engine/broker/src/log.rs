//! One partition's log: validated batches in offset order, in memory or in segment files.
//!
//! The log keeps the producer's bytes. What a broker must change (base offset and leader epoch, the first 16
//! bytes, which no CRC covers) is kept in the index entry and put in front of the untouched rest when it is
//! read, so that a batch in memory is the very slice of the socket buffer it arrived in.
//!
//! **Invariant:** entries are ordered and do not overlap: `entry.last_offset < next.base_offset`; every entry's
//! `last_offset >= log_start_offset`; `next_offset > last.last_offset`.
//!
//! Never here: locks, waiting, error codes, requests (see `partition`, `api`).

pub(crate) mod disk;
pub(crate) mod producer_state;
pub(crate) mod read;
pub(crate) mod transactions;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{InTransaction, IncomingBatch};
use crate::log::disk::{DiskLog, Recovered};
use crate::log::producer_state::ProducerStates;
use crate::log::read::LogSlice;
use crate::log::transactions::LogTransactions;

/// Index entries cost memory too: counted per batch beside its bytes.
pub(crate) const ENTRY_OVERHEAD_BYTES: u64 = size_of::<Entry>() as u64;

/// Batches of at most this size are copied out of the socket buffer, so that a small batch kept for long does
/// not keep a whole read buffer alive. Larger ones share it.
const COPIED_BATCH_BYTES_MAX: usize = 16 << 10;

/// The log of one partition.
#[derive(Debug)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    log_start_offset: i64,
    next_offset: i64,
    /// Bytes of all entries with their overhead.
    bytes: u64,
    bytes_after_compaction: u64,
    disk: Option<DiskLog>,
    pub(crate) producers: ProducerStates,
    pub(crate) transactions: LogTransactions,
}

/// Where one batch is and what is asked of it without reading it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) max_timestamp: i64,
    /// Whole size, the 16 patched bytes included.
    pub(crate) size: u32,
    pub(crate) payload: Payload,
}

#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// The batch from byte 16 on.
    Memory(Bytes),
    /// The whole batch, patched, in a segment file.
    Disk { file: Arc<File>, position: u64 },
}

impl Log {
    /// An empty log in memory.
    pub(crate) fn in_memory() -> Self {
        Self {
            entries: VecDeque::new(),
            log_start_offset: 0,
            next_offset: 0,
            bytes: 0,
            bytes_after_compaction: 0,
            disk: None,
            producers: ProducerStates::default(),
            transactions: LogTransactions::default(),
        }
    }

    /// A log whose batches were recovered from segment files. Batches wholly before `log_start_offset` are
    /// forgotten, as they were before the restart.
    pub(crate) fn recovered(recovered: Recovered, log_start_offset: i64) -> Self {
        let Recovered {
            disk,
            entries,
            producers,
            transactions,
        } = recovered;
        let next_offset = entries.back().map_or(0, |entry| entry.last_offset + 1);
        let mut log = Self {
            bytes: entries.iter().map(Entry::cost).sum(),
            entries,
            bytes_after_compaction: 0,
            log_start_offset: 0,
            next_offset: next_offset.max(disk.active_base_offset()),
            disk: Some(disk),
            producers,
            transactions,
        };
        // DeleteRecords may have emptied the log, whose files then end before its start.
        log.next_offset = log.next_offset.max(log_start_offset);
        log.advance_start(log_start_offset);
        log
    }

    pub(crate) fn log_start_offset(&self) -> i64 {
        self.log_start_offset
    }

    /// Offset of the next record: the log end offset, and on one node the high watermark too.
    pub(crate) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Before this offset every transaction is ended: how far read_committed reads.
    pub(crate) fn last_stable_offset(&self) -> i64 {
        let open = self.transactions.first_open_offset();
        open.map_or(self.next_offset, |first| first.max(self.log_start_offset))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn entries(&self) -> &VecDeque<Entry> {
        &self.entries
    }

    /// Appends a checked batch at the end and returns its base offset. On error nothing was appended.
    pub(crate) fn append(&mut self, batch: &IncomingBatch, leader_epoch: i32, sync: bool) -> io::Result<i64> {
        let base_offset = self.next_offset;
        let size = batch.bytes().len();
        let head = batch_head(base_offset, size, leader_epoch);
        let rest = batch.bytes().slice(head.len()..);
        let payload = match &mut self.disk {
            Some(disk) => {
                let (file, position) = disk.append(base_offset, &head, &rest, sync)?;
                Payload::Disk { file, position }
            }
            None if size <= COPIED_BATCH_BYTES_MAX => Payload::Memory(Bytes::copy_from_slice(&rest)),
            None => Payload::Memory(rest),
        };
        let entry = Entry {
            base_offset,
            last_offset: base_offset + i64::from(batch.last_offset_delta()),
            leader_epoch,
            max_timestamp: batch.max_timestamp(),
            size: u32::try_from(size).expect("a batch fits the frame limit, which is below 2 GiB"),
            payload,
        };
        self.next_offset = entry.last_offset + 1;
        self.bytes += entry.cost();
        self.entries.push_back(entry);
        if let Some(sequenced) = batch.sequenced() {
            self.producers.appended(sequenced, base_offset);
        } else if let InTransaction::Marker { .. } = batch.in_transaction() {
            self.producers
                .marked(batch.producer_id(), batch.producer_epoch(), base_offset);
        }
        self.transactions
            .appended(batch.producer_id(), batch.in_transaction(), base_offset);
        Ok(base_offset)
    }

    /// The batches from the one that holds `offset` on and before `end`, up to `bytes_max`; the first even if it
    /// is larger, when `first_always`. Beside them the offset behind the last.
    pub(crate) fn read(&self, offset: i64, end: i64, bytes_max: usize, first_always: bool) -> (LogSlice, i64) {
        let mut slice = LogSlice::default();
        let mut next_offset = offset;
        let first = self.entries.partition_point(|entry| entry.last_offset < offset);
        for entry in self.entries.range(first..) {
            let is_first = first_always && slice.size() == 0;
            if entry.base_offset >= end || !is_first && slice.size() + entry.size as usize > bytes_max {
                break;
            }
            slice.push(entry);
            next_offset = entry.last_offset + 1;
        }
        (slice, next_offset)
    }

    /// The first batch that may hold a record at or after `timestamp`.
    pub(crate) fn first_batch_since(&self, timestamp: i64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.max_timestamp >= timestamp)
    }

    /// The batch with the largest timestamp; the first of several.
    pub(crate) fn batch_of_max_timestamp(&self) -> Option<&Entry> {
        let mut latest: Option<&Entry> = None;
        for entry in &self.entries {
            if latest.is_none_or(|latest| entry.max_timestamp > latest.max_timestamp) {
                latest = Some(entry);
            }
        }
        latest
    }

    /// The largest leader epoch at most `leader_epoch` that wrote here, and the offset where it ended.
    pub(crate) fn end_offset_of_epoch(&self, leader_epoch: i32, current: i32) -> Option<(i32, i64)> {
        if leader_epoch == current {
            return Some((current, self.next_offset));
        }
        if leader_epoch > current {
            return None;
        }
        let later = self.entries.partition_point(|entry| entry.leader_epoch <= leader_epoch);
        let end = self
            .entries
            .get(later)
            .map_or(self.next_offset, |entry| entry.base_offset);
        match later.checked_sub(1).and_then(|index| self.entries.get(index)) {
            Some(entry) => Some((entry.leader_epoch, end)),
            None => Some((leader_epoch, end.max(self.log_start_offset))),
        }
    }

    /// Forgets everything before `offset`. Batches go whole; one that holds `offset` stays. On disk, segment
    /// files are deleted once nothing in them is left.
    pub(crate) fn advance_start(&mut self, offset: i64) {
        let offset = offset.min(self.next_offset);
        if offset <= self.log_start_offset {
            return;
        }
        self.log_start_offset = offset;
        while self.entries.front().is_some_and(|entry| entry.last_offset < offset) {
            self.drop_first();
        }
        self.transactions.advance_start(offset);
        if let Some(disk) = &mut self.disk {
            disk.delete_segments_before(offset);
        }
    }

    /// Drops the oldest batches until at most `bytes_max` are left, always keeping the newest one. Tells
    /// whether the log start moved.
    pub(crate) fn cut_to(&mut self, bytes_max: u64) -> bool {
        let mut left = self.bytes;
        let mut start = self.log_start_offset;
        for (index, entry) in self.entries.iter().enumerate() {
            if left <= bytes_max || index + 1 == self.entries.len() {
                break;
            }
            left -= entry.cost();
            start = entry.last_offset + 1;
        }
        let moved = start > self.log_start_offset;
        self.advance_start(start);
        moved
    }

    /// Drops batches whose newest record is older than `timestamp`, from the front. Tells whether it moved.
    pub(crate) fn cut_older_than(&mut self, timestamp: i64) -> bool {
        let expired = self
            .entries
            .iter()
            .take_while(|entry| entry.max_timestamp < timestamp)
            .last();
        let Some(start) = expired.map(|entry| entry.last_offset + 1) else {
            return false;
        };
        self.advance_start(start);
        true
    }

    /// Removes the batches at `base_offsets` (ordered), leaving gaps as compaction does. On disk they go with
    /// their segment, once every batch of it is to go; until then they stay.
    pub(crate) fn remove(&mut self, base_offsets: &[i64]) {
        let is_listed = |entry: &Entry| base_offsets.binary_search(&entry.base_offset).is_ok();
        let deleted = self.disk.as_mut().map(|disk| {
            disk.delete_segments(|span| {
                let from = self.entries.partition_point(|entry| entry.base_offset < span.start);
                let to = self.entries.partition_point(|entry| entry.base_offset < span.end);
                self.entries.range(from..to).all(is_listed)
            })
        });
        let is_gone = |entry: &Entry| match &deleted {
            Some(spans) => spans.iter().any(|span| span.contains(&entry.base_offset)),
            None => is_listed(entry),
        };
        let mut removed = 0;
        self.entries.retain(|entry| {
            let gone = is_gone(entry);
            removed += if gone { entry.cost() } else { 0 };
            !gone
        });
        self.bytes -= removed;
        self.bytes_after_compaction = self.bytes;
    }

    /// What was left by the last [`remove`](Self::remove).
    pub(crate) fn bytes_after_compaction(&self) -> u64 {
        self.bytes_after_compaction
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.disk.as_ref().map_or(Ok(()), DiskLog::sync)
    }

    fn drop_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.cost();
        }
    }
}

impl Entry {
    pub(crate) fn cost(&self) -> u64 {
        u64::from(self.size) + ENTRY_OVERHEAD_BYTES
    }

    pub(crate) fn head(&self) -> [u8; 16] {
        batch_head(self.base_offset, self.size as usize, self.leader_epoch)
    }
}

/// The first 16 bytes of a batch: base offset, length of what follows the length field, leader epoch.
fn batch_head(base_offset: i64, size: usize, leader_epoch: i32) -> [u8; 16] {
    let mut head = [0; 16];
    let length = i32::try_from(size - 12).expect("a batch fits the frame limit, which is below 2 GiB");
    head[..8].copy_from_slice(&base_offset.to_be_bytes());
    head[8..12].copy_from_slice(&length.to_be_bytes());
    head[12..].copy_from_slice(&leader_epoch.to_be_bytes());
    head
}
