//! What bounds the logs: bytes per partition, bytes in all, age, and compaction.
//!
//! Bounds are kept by dropping whole batches from the front, which advances the log start offset; the newest
//! batch of a partition always stays. A compacted topic is not cut: batches of which every record has been
//! overwritten by a later one of the same key are removed; on disk, segments that hold no other batches. That is
//! coarser than Kafka's cleaner, which rewrites batches, but keeps a state topic bounded, and offsets and bytes
//! as they were. Records of aborted transactions go and overwrite nothing, open transactions
//! stay, and a marker stays one pass longer than the records before it.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use engine_wire::compression::Decompressor;
use engine_wire::record_batch::{RawBatch, RecordError};
use tracing::{info, warn};

use crate::log::read::LogSlice;
use crate::log::transactions::AbortedTransaction;
use crate::log::{Entry, Log};
use crate::node::{Node, now_ms};
use crate::partition::Partition;
use crate::topic::Topic;

/// When all logs together reach the bound, they are cut to this share of it, so that not every append cuts.
const CUT_TO_PERCENT: u64 = 90;

/// A compacted partition below this size is left alone. A larger one is compacted when it has doubled since the
/// last time, so that all passes together read no more than twice what was written.
const COMPACTION_BYTES_MIN: u64 = 1 << 20;

impl Node {
    /// Keeps the bounds after an append to `partition`.
    pub(crate) fn keep_bounds(&self, topic: &Topic, partition: &Partition) {
        let config = topic.config();
        let bytes_max = config.retention_bytes.or(self.config.retention_bytes_per_partition);
        if config.is_deleted && bytes_max.is_some_and(|bytes_max| partition.bytes() > bytes_max) {
            let moved = partition.change(|log| log.cut_to(bytes_max.unwrap_or(u64::MAX)));
            self.remember_cut(topic, partition, moved);
        }
        self.keep_total();
    }

    /// Time bounds and compaction; called now and then, on a thread that may block: a pass reads whole partitions.
    pub(crate) fn clean(&self) {
        for topic in self.topics.all() {
            let config = topic.config();
            for partition in topic.partitions() {
                if let Some(retention_ms) = config.retention_ms.filter(|_| config.is_deleted) {
                    let moved = partition.change(|log| log.cut_older_than(now_ms() - retention_ms));
                    self.remember_cut(&topic, &partition, moved);
                }
                if config.is_compacted {
                    compact(&topic, &partition);
                }
            }
        }
    }

    fn keep_total(&self) {
        let Some(bytes_max) = self.config.retention_total() else {
            return;
        };
        let mut total = self.total_bytes.load(Ordering::Relaxed);
        // One append cuts for all that come meanwhile.
        if total <= bytes_max || self.is_trimming.swap(true, Ordering::Acquire) {
            return;
        }
        let topics = self.topics.all();
        let target = bytes_max / 100 * CUT_TO_PERCENT;
        let mut cut: Vec<_> = topics
            .iter()
            .filter(|topic| topic.config().is_deleted)
            .flat_map(|topic| topic.partitions().into_iter().map(move |partition| (topic, partition)))
            .collect();
        cut.sort_by_key(|(_, partition)| std::cmp::Reverse(partition.bytes()));
        for (topic, partition) in cut {
            if total <= target {
                break;
            }
            let before = partition.bytes();
            let moved = partition.change(|log| log.cut_to(before.saturating_sub(total - target)));
            total -= before.saturating_sub(partition.bytes());
            let log_start_offset = partition.look(Log::log_start_offset);
            let (name, index) = (&topic.name, partition.index);
            warn!(topic = %name, partition = index, log_start_offset, bytes_max, "Oldest records dropped.");
            self.remember_cut(topic, &partition, moved);
        }
        self.is_trimming.store(false, Ordering::Release);
    }

    fn remember_cut(&self, topic: &Topic, partition: &Partition, moved: bool) {
        if !moved {
            return;
        }
        if let Err(error) = self.record_log_start(topic, partition) {
            warn!(topic = %topic.name, partition = partition.index, %error, "Log start not recorded.");
        }
    }
}

/// Removes the batches whose every record was overwritten. Works on a copy of the index, without the lock, and
/// holds each key once.
fn compact(topic: &Topic, partition: &Partition) {
    let bytes = partition.bytes();
    if bytes < COMPACTION_BYTES_MIN {
        return;
    }
    let entries = partition.look(|log| {
        let worthwhile = bytes >= 2 * log.bytes_after_compaction();
        worthwhile.then(|| {
            let stable = log.last_stable_offset();
            let ended = log.entries().iter().take_while(|entry| entry.last_offset < stable);
            let aborted = log.transactions.aborted_within(log.log_start_offset(), stable);
            (ended.cloned().collect::<Vec<_>>(), aborted)
        })
    });
    let Some((entries, aborted)) = entries else { return };
    match overwritten(&entries, &aborted) {
        Ok(base_offsets) => {
            partition.change(|log| log.remove(&base_offsets));
            let left = partition.bytes();
            info!(topic = %topic.name, partition = partition.index, bytes, left, "Partition compacted.");
        }
        Err(error) => warn!(topic = %topic.name, partition = partition.index, %error, "Not compacted."),
    }
}

/// Base offsets of the batches in which no record is the latest of its key. The newest batch always stays.
fn overwritten(entries: &[Entry], aborted: &[AbortedTransaction]) -> Result<Vec<i64>, RecordError> {
    let mut latest: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut decompressor = Decompressor::default();
    let mut kept = vec![false; entries.len()];
    let mut in_transaction = HashSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let mut slice = LogSlice::default();
        slice.push(entry);
        let batch = slice.into_bytes().ok().and_then(|bytes| RawBatch::parse(bytes).ok());
        let Some(batch) = batch else {
            kept[index] = true;
            continue;
        };
        let producer_id = batch.header.producer_id;
        if batch.header.is_control() {
            // As long as records of its transaction are there, which without it would be open after a restart.
            kept[index] = in_transaction.remove(&producer_id);
            continue;
        }
        let of_aborted = |aborted: &AbortedTransaction| {
            aborted.producer_id == producer_id
                && (aborted.first_offset..aborted.last_offset).contains(&entry.base_offset)
        };
        if batch.header.is_transactional() {
            in_transaction.insert(producer_id);
            if aborted.iter().any(of_aborted) {
                continue;
            }
        }
        for record in batch.records(&mut decompressor)? {
            match record?.key {
                Some(key) => match latest.get_mut(key) {
                    Some(newest) => *newest = index,
                    None => drop(latest.insert(key.to_vec(), index)),
                },
                None => kept[index] = true,
            }
        }
    }
    latest.into_values().for_each(|index| kept[index] = true);
    if let Some(newest) = kept.last_mut() {
        *newest = true;
    }
    let gone = entries.iter().zip(kept).filter(|(_, kept)| !kept);
    Ok(gone.map(|(entry, _)| entry.base_offset).collect())
}
