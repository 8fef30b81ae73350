//! Cutting and compacting, in memory and on disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use engine_wire::compression::{Codec, Compression, Compressor};
use engine_wire::record_batch::{BatchBuilder, ProducerStamp, split_batches};

use super::*;
use crate::batch::{BatchRules, IncomingBatch, Marker};
use crate::config::BrokerConfig;

fn node_with(setting: (&str, &str)) -> Node {
    node_on(BrokerConfig::default(), setting)
}

fn node_on(config: BrokerConfig, setting: (&str, &str)) -> Node {
    let node = Node::open(config, "localhost".to_owned(), 1).expect("a node");
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
    append_batch(node, builder, ProducerStamp::NONE);
}

fn append_batch(node: &Node, mut builder: BatchBuilder, stamp: ProducerStamp) {
    let compression = Compression {
        codec: Codec::Lz4,
        level: None,
    };
    let mut sealed = builder
        .seal(compression, &mut Compressor::new(), Vec::new())
        .expect("sealed");
    let rules = BatchRules {
        message_bytes_max: 1 << 20,
        is_compacted: true,
        log_append_time: None,
    };
    let batch = IncomingBatch::check(sealed.stamp(stamp), rules).expect("a batch");
    let topic = node.topics.find("t").expect("the topic");
    let partition = topic.partition(0).expect("the partition");
    partition.append(&batch, false).expect("appended");
    node.keep_bounds(&topic, &partition);
}

/// One record in a transaction of producer 7, which `end` ends.
fn append_in_transaction(node: &Node, base_sequence: i32, key: &str, value: &[u8]) {
    let mut builder = BatchBuilder::with_capacity(100);
    builder.append(1, Some(key.as_bytes()), Some(value), []).expect("room");
    let stamp = ProducerStamp {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence,
        is_transactional: true,
    };
    append_batch(node, builder, stamp);
}

fn end(node: &Node, is_committed: bool) {
    let marker = Marker {
        is_committed,
        producer_id: 7,
        producer_epoch: 0,
        coordinator_epoch: 0,
    };
    let partition = node
        .topics
        .find("t")
        .and_then(|topic| topic.partition(0))
        .expect("there");
    partition
        .append(&IncomingBatch::marker(1, marker), false)
        .expect("appended");
}

fn records(node: &Node) -> Vec<(i64, String)> {
    let partition = node
        .topics
        .find("t")
        .and_then(|topic| topic.partition(0))
        .expect("the partition");
    let slice = partition.look(|log| log.read(0, i64::MAX, usize::MAX, true).0);
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
fn on_disk_compaction_deletes_segments_whose_every_batch_is_overwritten() {
    let data = tempfile::tempdir().expect("a directory");
    let config = BrokerConfig {
        data: Some(data.path().to_owned()),
        segment_bytes: 200_000,
        ..BrokerConfig::default()
    };
    let node = node_on(config.clone(), ("cleanup.policy", "compact"));
    append(&node, 1, &[("only-here", &noise(0))]);
    for index in 1..300 {
        append(&node, 1, &[("often", &noise(index))]);
    }
    node.clean();
    let left = records(&node);
    assert_eq!(left.first(), Some(&(0, "only-here".to_owned())), "its segment stays");
    assert_eq!(left.last(), Some(&(299, "often".to_owned())));
    assert!(left.len() < 50, "{} batches are left", left.len());
    drop(node);
    let node = Node::open(config, "localhost".to_owned(), 1).expect("a node that was there");
    assert_eq!(records(&node), left, "a restart finds the same, gaps and all");
    append(&node, 1, &[("often", b"next")]);
    assert_eq!(records(&node).last(), Some(&(300, "often".to_owned())));
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

#[test]
fn compaction_tells_transactions_apart() {
    let node = node_with(("cleanup.policy", "compact"));
    let large = || [noise(1), noise(2)].concat();
    append(&node, 1, &[("a", b"overwritten in a transaction")]);
    append(&node, 1, &[("b", b"overwritten by nothing that counts")]);
    append_in_transaction(&node, 0, "a", b"committed");
    end(&node, true);
    append_in_transaction(&node, 1, "b", b"aborted");
    end(&node, false);
    // What makes it worthwhile.
    (0..60).for_each(|_| append(&node, 1, &[("large", &large())]));
    append_in_transaction(&node, 2, "a", b"still open");
    let keys = |node: &Node| -> Vec<(i64, String)> {
        let mut all = records(node);
        all.iter_mut()
            .filter(|(_, key)| key.starts_with('\0'))
            .for_each(|(_, key)| *key = "marker".to_owned());
        all
    };
    node.clean();
    let expected = [
        (1, "b"),
        (2, "a"),
        (3, "marker"),
        (5, "marker"),
        (65, "large"),
        (66, "a"),
    ];
    assert_eq!(keys(&node), expected.map(|(offset, key)| (offset, key.to_owned())));
    // The records before the second marker are gone: the next pass takes it too.
    (0..60).for_each(|_| append(&node, 1, &[("large", &large())]));
    end(&node, true);
    append(&node, 1, &[("last", b"")]);
    node.clean();
    let expected = [(1, "b"), (66, "a"), (126, "large"), (127, "marker"), (128, "last")];
    let mut left = keys(&node);
    left.retain(|(offset, _)| *offset != 3); // Its record was there until now.
    assert_eq!(left, expected.map(|(offset, key)| (offset, key.to_owned())));
}
