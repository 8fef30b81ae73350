//! Topics that several connections change at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Barrier;

use engine_wire::error_code::ErrorCode;

use crate::config::BrokerConfig;
use crate::node::Node;

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
