//! A partition with three replicas: who leads, how far all have copied, and what of it may be read.
//!
//! Never here: requests (see `cluster`), connections.

use std::collections::BTreeSet;

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use engine_wire::record_batch::{BATCH_HEADER_BYTES, ControlRecord, RawBatch, place_batch};
use fastrand::Rng;

use crate::cluster::NODES;
use crate::replica_log::{AbortedTransaction, ReplicaLog, StoredBatch};

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) replicas: Vec<ReplicaLog>,
    pub(crate) leader: Option<i32>,
    pub(crate) leader_epoch: i32,
    /// Up to here all replicas in sync have it: nothing of it is lost in a clean election.
    pub(crate) high_watermark: i64,
    pub(crate) log_start: i64,
    pub(crate) refuses_unknown_producers: bool,
    /// Records that compaction removed.
    compacted: BTreeSet<i64>,
    /// Batches that compaction emptied and kept, for their producer's last sequence.
    emptied: BTreeSet<i64>,
    /// A follower that stopped to copy, so that it is not in sync any more.
    pub(crate) lagging: Option<i32>,
    /// Elections that cost records.
    pub(crate) unclean_elections: u32,
}

/// What a fetch finds.
#[derive(Debug, Default)]
pub(crate) struct ReadRecords {
    pub(crate) batches: Vec<Bytes>,
    pub(crate) aborted: Vec<AbortedTransaction>,
}

impl Partition {
    pub(crate) fn new(leader: i32) -> Self {
        Self {
            replicas: vec![ReplicaLog::default(); NODES as usize],
            leader: Some(leader),
            leader_epoch: 3,
            high_watermark: 0,
            log_start: 0,
            refuses_unknown_producers: false,
            compacted: BTreeSet::new(),
            emptied: BTreeSet::new(),
            lagging: None,
            unclean_elections: 0,
        }
    }

    pub(crate) fn leader_log(&self) -> Option<&ReplicaLog> {
        self.leader.map(|leader| &self.replicas[leader as usize])
    }

    /// The log of whoever leads, or else of one of those that could.
    pub(crate) fn log(&self) -> &ReplicaLog {
        let longest = || self.replicas.iter().max_by_key(|log| log.end_offset());
        self.leader_log().or_else(longest).expect("there are replicas")
    }

    pub(crate) fn last_stable_offset(&self) -> i64 {
        let first_unstable = self.log().first_unstable_offset(self.high_watermark);
        first_unstable.min(self.high_watermark)
    }

    pub(crate) fn append(&mut self, records: &Bytes) -> (ErrorCode, i64) {
        let (epoch, refuses_unknown) = (self.leader_epoch, self.refuses_unknown_producers);
        match self.leader {
            Some(leader) => self.replicas[leader as usize].append(records, epoch, refuses_unknown),
            None => (ErrorCode::LEADER_NOT_AVAILABLE, -1),
        }
    }

    /// Where the log must be copied to until the marker counts as written; `None` without a leader.
    pub(crate) fn append_marker(&mut self, marker: ControlRecord, producer_id: i64, epoch: i16) -> Option<i64> {
        let log = &mut self.replicas[self.leader? as usize];
        log.append_marker(marker, producer_id, epoch, self.leader_epoch);
        Some(log.end_offset())
    }

    /// Followers fetch: all of it, or one of them not quite.
    pub(crate) fn replicate(&mut self, rng: &mut Rng) {
        let Some(leader) = self.leader else {
            return;
        };
        let log = self.replicas[leader as usize].clone();
        for (node_id, replica) in self.replicas.iter_mut().enumerate() {
            if node_id as i32 != leader && self.lagging != Some(node_id as i32) {
                let end_offset = match rng.u32(0..4) {
                    0 => rng.i64(self.high_watermark..=log.end_offset()),
                    _ => log.end_offset(),
                };
                replica.copy_from(&log, end_offset);
            }
        }
        self.raise_high_watermark();
    }

    /// Elects another leader, among those that have all that was acknowledged, or, uncleanly, anyone. `None`: nobody leads
    /// until somebody can.
    pub(crate) fn elect(&mut self, candidates: &[i32], is_unclean: bool, rng: &mut Rng) {
        let has_all = |node_id: i32| self.has_all(node_id);
        let candidates: Vec<i32> = candidates
            .iter()
            .copied()
            .filter(|node_id| is_unclean || has_all(*node_id))
            .collect();
        self.leader_epoch += 1;
        self.leader = rng.choice(candidates);
        self.lagging = None;
        let end_offset = self.leader_log().map(ReplicaLog::end_offset);
        if let Some(end_offset) = end_offset
            && end_offset < self.high_watermark
        {
            self.high_watermark = end_offset;
            self.log_start = self.log_start.min(end_offset);
            self.compacted.retain(|offset| *offset < end_offset);
            self.emptied.retain(|offset| *offset < end_offset);
            self.unclean_elections += 1;
            // Only the new leader is in sync now: the others cut what it does not have before they can be elected.
            let leader = self.log().clone();
            for replica in &mut self.replicas {
                replica.copy_from(&leader, end_offset);
            }
        }
    }

    /// Whether the node has a part of the leader's log and nothing else. One that has something else, from an election before,
    /// could not be told from the leader by the ends of epochs alone: KIP-320 sees one election back, not two.
    pub(crate) fn is_behind(&self, node_id: i32) -> bool {
        let log = &self.replicas[node_id as usize];
        self.leader_log()
            .is_some_and(|leader| log.end_offset_within(leader) == log.end_offset())
    }

    /// Whether an election of this node is clean.
    fn has_all(&self, node_id: i32) -> bool {
        let log = &self.replicas[node_id as usize];
        match self.leader_log() {
            Some(leader) => log.end_offset_within(leader) >= self.high_watermark,
            None => log.end_offset() >= self.high_watermark,
        }
    }

    /// DeleteRecords, or retention: the log begins here. Before KIP-360 producers of whom nothing is left are forgotten.
    pub(crate) fn delete_below(&mut self, offset: i64) {
        self.log_start = self.log_start.max(offset.min(self.high_watermark));
        if !self.refuses_unknown_producers {
            return;
        }
        for replica in &mut self.replicas {
            replica.forget_producers_below(self.log_start);
        }
    }

    /// Compaction of what is stable, but for the last batch: records, whole batches, or all but the header of one.
    pub(crate) fn compact(&mut self, rng: &mut Rng) {
        let stable = self.last_stable_offset();
        let log = self.log();
        let count = log.batches.len().saturating_sub(1);
        let clean = log.batches[..count]
            .iter()
            .filter(|batch| batch.header.next_offset() <= stable);
        let (mut compacted, mut emptied) = (Vec::new(), Vec::new());
        for batch in clean.filter(|batch| batch.marker.is_none()) {
            let offsets = batch.header.base_offset..batch.header.next_offset();
            match rng.u32(0..6) {
                0 => {
                    compacted.extend(offsets);
                    if rng.bool() {
                        emptied.push(batch.header.base_offset);
                    }
                }
                1 => compacted.extend(offsets.filter(|_| rng.bool())),
                _ => {}
            }
        }
        self.compacted.extend(compacted);
        self.emptied.extend(emptied);
    }

    /// Whether the record is not to be seen any more.
    pub(crate) fn is_deleted(&self, offset: i64) -> bool {
        offset < self.log_start || self.is_compacted(offset)
    }

    /// Whether compaction removed the record.
    pub(crate) fn is_compacted(&self, offset: i64) -> bool {
        self.compacted.contains(&offset)
    }

    /// Batches from the one that holds `offset` on, a few at a time.
    pub(crate) fn read(&self, node_id: i32, offset: i64, read_committed: bool, rng: &mut Rng) -> ReadRecords {
        let log = &self.replicas[node_id as usize];
        let end = self.high_watermark.min(log.end_offset());
        let end = match read_committed {
            true => end.min(log.first_unstable_offset(end)),
            false => end,
        };
        let mut batches = Vec::new();
        let mut next_offset = offset;
        let wanted = rng.usize(1..4);
        for batch in &log.batches {
            let header = &batch.header;
            if header.next_offset() <= offset || header.next_offset() > end || batches.len() == wanted {
                continue;
            }
            if header.next_offset() <= self.log_start {
                continue;
            }
            batches.extend(self.compacted_batch(batch));
            next_offset = header.next_offset();
        }
        let overlaps =
            |aborted: &&AbortedTransaction| aborted.last_offset >= offset && aborted.first_offset < next_offset;
        let mut aborted: Vec<_> = match read_committed {
            true => log.aborted.iter().filter(overlaps).copied().collect(),
            false => Vec::new(),
        };
        rng.shuffle(&mut aborted); // Kafka promises no order.
        ReadRecords { batches, aborted }
    }

    /// What there is to see: offsets and numbers.
    pub(crate) fn visible(&self, read_committed: bool) -> Vec<(i64, u64)> {
        let mut records = self.records(read_committed);
        records.retain(|(offset, _)| !self.is_deleted(*offset));
        records
    }

    /// The same, together with what compaction and retention removed.
    pub(crate) fn records(&self, read_committed: bool) -> Vec<(i64, u64)> {
        let log = self.log();
        let end = match read_committed {
            true => self.last_stable_offset(),
            false => self.high_watermark,
        };
        let is_aborted = |batch: &StoredBatch| {
            let header = &batch.header;
            let mut aborted = log.aborted.iter();
            header.is_transactional()
                && aborted.any(|aborted| {
                    let range = aborted.first_offset..=aborted.last_offset;
                    aborted.producer_id == header.producer_id && range.contains(&header.base_offset)
                })
        };
        let batches = log.batches.iter().filter(|batch| batch.header.next_offset() <= end);
        let batches = batches.filter(|batch| batch.marker.is_none() && !(read_committed && is_aborted(batch)));
        let records = batches.flat_map(|batch| (batch.header.base_offset..).zip(batch.values.iter().copied()));
        records.collect()
    }

    fn raise_high_watermark(&mut self) {
        let Some(leader) = self.leader_log() else {
            return;
        };
        let in_sync = self
            .replicas
            .iter()
            .enumerate()
            .filter(|(node_id, _)| self.lagging != Some(*node_id as i32));
        let copied = in_sync.map(|(_, log)| log.end_offset_within(leader)).min();
        self.high_watermark = self.high_watermark.max(copied.unwrap_or(0));
    }

    /// What compaction left of a batch.
    fn compacted_batch(&self, batch: &StoredBatch) -> Option<Bytes> {
        let header = &batch.header;
        let offsets = header.base_offset..header.next_offset();
        let kept: Vec<i64> = offsets
            .clone()
            .filter(|offset| !self.compacted.contains(offset))
            .collect();
        if kept.len() as i64 == header.next_offset() - header.base_offset {
            return Some(batch.bytes.clone());
        }
        if kept.is_empty() && !self.emptied.contains(&header.base_offset) {
            return None;
        }
        let mut bytes = batch.bytes[..BATCH_HEADER_BYTES].to_vec();
        for offset in &kept {
            let delta = (offset - header.base_offset) as u8;
            assert!(delta < 64, "one byte of a zigzag varint");
            let value = batch.values[delta as usize].to_be_bytes();
            // Length, attributes, timestamp, offset, no key, a value of eight bytes, no headers.
            bytes.extend([28, 0, 0, delta * 2, 1, 16]);
            bytes.extend(value);
            bytes.push(0);
        }
        let batch_length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&batch_length.to_be_bytes());
        bytes[22] &= !7; // Not compressed.
        bytes[57..61].copy_from_slice(&(kept.len() as i32).to_be_bytes());
        let rewritten = RawBatch::parse(bytes.into()).expect("a whole batch");
        // With a time of the log, because that makes the CRC anew.
        let placed = place_batch(rewritten, header.base_offset, header.partition_leader_epoch, Some(0));
        Some(placed.bytes)
    }
}
