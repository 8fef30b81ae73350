//! What bounds the logs: bytes per partition, bytes in all, age, and compaction.
//!
//! Bounds are kept by dropping whole batches from the front, which advances the log start offset; the newest
//! batch of a partition always stays. A compacted topic is not cut: batches of which every record has been
//! overwritten by a later one of the same key are removed. That is coarser than Kafka's cleaner, which rewrites
//! batches, but keeps a state topic bounded, and offsets and bytes as they were.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use engine_wire::compression::Decompressor;
use engine_wire::record_batch::{RawBatch, RecordError};
use tracing::{info, warn};

use crate::log::read::LogSlice;
use crate::log::{Entry, Log};
use crate::node::{Node, now_ms};
use crate::partition::Partition;
use crate::topic::Topic;

/// When all logs together reach the bound, they are cut to this share of it, so that not every append cuts.
const CUT_TO_PERCENT: u64 = 90;

/// A compacted partition below this size is left alone.
const COMPACTION_BYTES_MIN: u64 = 1 << 20;

/// Largest partition that is compacted: the pass holds every batch's index and one key per record.
const COMPACTION_BYTES_MAX: u64 = 256 << 20;

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

    /// Time bounds and compaction; called now and then.
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

/// Removes the batches whose every record was overwritten. Works on a copy of the index, without the lock.
fn compact(topic: &Topic, partition: &Partition) {
    let bytes = partition.bytes();
    if !(COMPACTION_BYTES_MIN..=COMPACTION_BYTES_MAX).contains(&bytes) {
        return;
    }
    let entries = partition.look(|log| {
        let worthwhile = !log.is_durable() && bytes >= 2 * log.bytes_after_compaction();
        worthwhile.then(|| log.entries().iter().cloned().collect::<Vec<_>>())
    });
    let Some(entries) = entries else { return };
    match overwritten(&entries) {
        Ok(base_offsets) => {
            partition.change(|log| log.remove(&base_offsets));
            let left = partition.bytes();
            info!(topic = %topic.name, partition = partition.index, bytes, left, "Partition compacted.");
        }
        Err(error) => warn!(topic = %topic.name, partition = partition.index, %error, "Not compacted."),
    }
}

/// Base offsets of the batches in which no record is the latest of its key. The newest batch always stays.
fn overwritten(entries: &[Entry]) -> Result<Vec<i64>, RecordError> {
    let mut latest: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut decompressor = Decompressor::default();
    let mut kept = vec![false; entries.len()];
    for (index, entry) in entries.iter().enumerate() {
        let mut slice = LogSlice::default();
        slice.push(entry);
        let batch = slice.into_bytes().ok().and_then(|bytes| RawBatch::parse(bytes).ok());
        let Some(batch) = batch else {
            kept[index] = true;
            continue;
        };
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use engine_wire::compression::{Codec, Compression, Compressor};
    use engine_wire::record_batch::{BatchBuilder, ProducerStamp, split_batches};

    use super::*;
    use crate::batch::{BatchRules, IncomingBatch};
    use crate::config::BrokerConfig;

    fn node_with(setting: (&str, &str)) -> Node {
        let node = Node::open(BrokerConfig::default(), "localhost".to_owned(), 1).expect("a node in memory");
        let configs = BTreeMap::from([(setting.0.to_owned(), setting.1.to_owned())]);
        node.create_topic("t", 1, configs).expect("a topic");
        node
    }

    fn append(node: &Node, timestamp: i64, records: &[(&str, &[u8])]) {
        let mut builder = BatchBuilder::with_capacity(100);
        for (key, value) in records {
            builder
                .append(timestamp, Some(key.as_bytes()), Some(value), [])
                .expect("room");
        }
        let compression = Compression {
            codec: Codec::Lz4,
            level: None,
        };
        let sealed = builder
            .seal(compression, &mut Compressor::new(), Vec::new())
            .expect("sealed");
        let mut sealed = sealed;
        let rules = BatchRules {
            message_bytes_max: 1 << 20,
            is_compacted: true,
            log_append_time: None,
        };
        let batch = IncomingBatch::check(sealed.stamp(ProducerStamp::NONE), rules).expect("a batch");
        let topic = node.topics.find("t").expect("the topic");
        let partition = topic.partition(0).expect("the partition");
        partition.append(&batch, false).expect("appended");
        node.keep_bounds(&topic, &partition);
    }

    fn records(node: &Node) -> Vec<(i64, String)> {
        let partition = node
            .topics
            .find("t")
            .and_then(|topic| topic.partition(0))
            .expect("the partition");
        let slice = partition.look(|log| log.read(0, usize::MAX, true));
        let mut decompressor = Decompressor::default();
        let mut keys = Vec::new();
        for batch in split_batches(slice.into_bytes().unwrap_or_else(|_| Bytes::new())) {
            let batch = batch.expect("a batch");
            for record in batch.records(&mut decompressor).expect("records") {
                let record = record.expect("a record");
                keys.push((
                    record.offset,
                    String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned(),
                ));
            }
        }
        keys
    }

    /// Bytes that no codec makes smaller.
    fn noise(seed: u64) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        std::iter::repeat_with(|| random.u8(..)).take(10_000).collect()
    }

    #[test]
    fn compaction_removes_overwritten_batches_and_keeps_the_latest_of_each_key() {
        let node = node_with(("cleanup.policy", "compact"));
        append(&node, 1, &[("only-here", &noise(0))]);
        for index in 0..300 {
            append(
                &node,
                1,
                &[(if index % 2 == 0 { "even" } else { "odd" }, &noise(index))],
            );
        }
        append(&node, 1, &[("even", b"small")]);
        node.clean();
        let left = [(0, "only-here"), (300, "odd"), (301, "even")];
        assert_eq!(records(&node), left.map(|(offset, key)| (offset, key.to_owned())));
        let end = node
            .topics
            .find("t")
            .and_then(|topic| topic.partition(0))
            .expect("there")
            .look(Log::next_offset);
        assert_eq!(end, 302, "offsets go on");
    }

    #[test]
    fn a_small_compacted_topic_is_left_alone() {
        let node = node_with(("cleanup.policy", "compact"));
        append(&node, 1, &[("k", b"1")]);
        append(&node, 1, &[("k", b"2")]);
        node.clean();
        assert_eq!(records(&node).len(), 2);
    }

    #[test]
    fn batches_older_than_retention_ms_go() {
        let node = node_with(("retention.ms", "60000"));
        append(&node, now_ms() - 100_000, &[("old", b"1")]);
        append(&node, now_ms(), &[("new", b"2")]);
        node.clean();
        assert_eq!(records(&node), [(1, "new".to_owned())]);
    }

    #[test]
    fn retention_bytes_cut_the_oldest_but_never_the_newest() {
        let node = node_with(("retention.bytes", "25000"));
        for index in 0..10 {
            append(&node, 1, &[("k", &noise(index))]);
        }
        assert_eq!(records(&node).first().map(|(offset, _)| *offset), Some(8));
        let node = node_with(("retention.bytes", "1"));
        append(&node, 1, &[("k", &noise(1))]);
        assert_eq!(records(&node).len(), 1);
    }
}
