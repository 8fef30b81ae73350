//! Topics that several connections change at once, and transactions that a crash interrupts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Barrier;

use engine_wire::compression::{Compression, Compressor};
use engine_wire::error_code::ErrorCode;
use engine_wire::record_batch::{BatchBuilder, ProducerStamp};

use crate::batch::{BatchRules, IncomingBatch};
use crate::config::BrokerConfig;
use crate::group::offsets::CommittedOffset;
use crate::journal::fact::Fact;
use crate::log::Log;
use crate::node::{Node, now_ms};
use crate::transaction::{Outcome, Part, State};
use crate::transaction_coordinator::lock;

fn open(data: &Path) -> Node {
    let config = BrokerConfig {
        data: Some(data.to_owned()),
        ..BrokerConfig::default()
    };
    Node::open(config, "localhost".to_owned(), 1).expect("a node")
}

/// Eight threads do the same at the same time.
fn at_once<T: Send>(act: impl Fn() -> T + Sync) -> Vec<T> {
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        let run = || {
            start.wait();
            act()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    })
}

#[test]
fn of_several_that_create_a_topic_one_does_and_a_restart_knows_whose_it_is() {
    let data = tempfile::tempdir().expect("a directory");
    let node = open(data.path());
    let created = at_once(|| node.create_topic("t", 2, BTreeMap::new()).map(|topic| topic.id));
    let ids: Vec<_> = created.iter().filter_map(|created| created.as_ref().ok()).collect();
    assert_eq!(ids.len(), 1, "{created:?}");
    let refused = created.iter().filter_map(|created| created.as_ref().err());
    assert!(
        refused
            .into_iter()
            .all(|(code, _)| *code == ErrorCode::TOPIC_ALREADY_EXISTS)
    );
    drop(node);
    let topic = open(data.path()).topics.find("t").expect("the topic");
    assert_eq!((topic.id, topic.partition_count()), (*ids[0], 2));
}

#[test]
fn growing_a_topic_twice_at_once_grows_it_once() {
    let data = tempfile::tempdir().expect("a directory");
    let node = open(data.path());
    let topic = node.create_topic("t", 1, BTreeMap::new()).expect("created");
    let grown = at_once(|| node.add_partitions(&topic, 4).is_ok());
    assert_eq!(grown.iter().filter(|grown| **grown).count(), 1, "{grown:?}");
    let indexes: Vec<i32> = topic.partitions().iter().map(|partition| partition.index).collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
}

/// The crash is between the record that decides and the markers: a copy of what a full disk or a kill leaves.
#[test]
fn a_transaction_that_was_prepared_before_a_crash_ends_as_was_decided() {
    for outcome in [Outcome::Commit, Outcome::Abort] {
        let data = tempfile::tempdir().expect("a directory");
        let node = open(data.path());
        let topic = node.create_topic("t", 1, BTreeMap::new()).expect("created");
        let producer = node
            .init_transactional_producer("tx", 60_000, None)
            .expect("a producer");
        let mut scope = Part::Partition { topic: "t", index: 0 }.scope();
        scope.groups.insert("g".to_owned());
        node.add_to_transaction("tx", producer, scope).expect("added");
        let stamp = ProducerStamp {
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            base_sequence: 0,
            is_transactional: true,
        };
        topic
            .partition(0)
            .expect("there")
            .append(&batch(stamp), false)
            .expect("appended");
        let pending = Fact::PendingOffset {
            group: "g".to_owned(),
            producer_id: producer.producer_id,
            topic: "t".to_owned(),
            partition: 0,
            offset: 5,
            leader_epoch: -1,
            metadata: String::new(),
        };
        let mut prepared = lock(&node.transactions.find("tx").expect("known")).clone();
        prepared.prepare(now_ms(), outcome, true, None);
        let decided = Fact::Transaction {
            transactional_id: "tx".to_owned(),
            transaction: prepared,
        };
        node.journal.record(&[pending, decided]).expect("recorded");
        drop((node, topic));

        // The second start finds it complete, and does nothing again.
        for start in 0..2 {
            let node = open(data.path());
            let partition = node
                .topics
                .find("t")
                .and_then(|topic| topic.partition(0))
                .expect("there");
            let (stable, end) = partition.look(|log| (log.last_stable_offset(), log.next_offset()));
            assert_eq!((stable, end), (2, 2), "start {start}: a batch and its marker");
            let aborted = partition.look(|log: &Log| log.transactions.aborted_within(0, end).len());
            assert_eq!(aborted, usize::from(outcome == Outcome::Abort));
            let transaction = lock(&node.transactions.find("tx").expect("known")).clone();
            assert_eq!(transaction.state, State::Complete { outcome });
            assert_eq!(transaction.producer.producer_epoch, producer.producer_epoch + 1);
            let found = node
                .coordinator
                .with_existing("g", |group| group.offsets.find("t", 0).cloned());
            let expected = CommittedOffset {
                offset: 5,
                leader_epoch: -1,
                metadata: String::new(),
            };
            assert_eq!(
                found.flatten(),
                (outcome == Outcome::Commit).then_some(expected),
                "start {start}"
            );
        }
    }
}

fn batch(stamp: ProducerStamp) -> IncomingBatch {
    let mut builder = BatchBuilder::with_capacity(100);
    builder.append(1, None, Some(b"a"), []).expect("room");
    let sealed = builder.seal(Compression::NONE, &mut Compressor::new(), Vec::new());
    let rules = BatchRules {
        message_bytes_max: 1 << 20,
        is_compacted: false,
        log_append_time: None,
    };
    IncomingBatch::check(sealed.expect("sealed").stamp(stamp), rules).expect("a batch")
}
