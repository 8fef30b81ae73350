//! Partitioning: which partition a record goes to.

use std::collections::BTreeSet;
use std::time::Duration;

use engine_client::{AppendError, ProduceRecord, SendError};

use crate::behaviour::{Shown, behaviours};
use crate::scene::Scene;

behaviours! { "Partitioning":
    keys_go_where_the_java_client_sends_them,
    records_without_key_reach_every_partition,
    a_chosen_partition_is_kept_whatever_the_key,
    keys_can_be_ignored,
    a_partition_that_is_not_there_is_refused_at_once,
}

/// Keys and their murmur2 hashes, from the tests of the Java client (UtilsTest).
const JAVA_HASHES: [(&str, i32); 6] = [
    ("21", -973_932_308),
    ("foobar", -790_332_482),
    ("a-little-bit-long-string", -985_981_536),
    ("a-little-bit-longer-string", -1_486_304_829),
    ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
    ("abc", 479_470_107),
];

async fn keys_go_where_the_java_client_sends_them(scene: Scene) -> Shown {
    let topic = scene.topic(7).await;
    let producer = scene.producer(|_| {}).await;
    for (key, _) in JAVA_HASHES {
        let record = ProduceRecord {
            topic: &topic,
            key: Some(key.as_bytes()),
            value: Some(b"x"),
            ..ProduceRecord::default()
        };
        producer.send(record).await.expect("is accepted");
    }
    producer.flush().await.expect("is delivered");
    let read = scene.read_topic(&topic, 7).await;
    assert_eq!(read.len(), JAVA_HASHES.len());
    for (key, hash) in JAVA_HASHES {
        let there = read
            .iter()
            .find(|read| read.record.key.as_deref() == Some(key.as_bytes()));
        let expected = (hash & i32::MAX) % 7;
        assert_eq!(there.expect("was written").partition, expected, "{key}");
    }
    Ok(())
}

async fn records_without_key_reach_every_partition(scene: Scene) -> Shown {
    let topic = scene.topic(3).await;
    let producer = scene
        .producer(|config| {
            config.batch_bytes_max = 200;
            config.linger = Duration::ZERO;
        })
        .await;
    let mut partitions = BTreeSet::new();
    for _ in 0..500 {
        let record = ProduceRecord {
            topic: &topic,
            value: Some(b"0123456789"),
            ..ProduceRecord::default()
        };
        partitions.insert(producer.send(record).await.expect("is accepted").partition());
    }
    producer.flush().await.expect("is delivered");
    assert_eq!(partitions, BTreeSet::from([0, 1, 2]));
    assert_eq!(scene.read_topic(&topic, 3).await.len(), 500);
    Ok(())
}

async fn a_chosen_partition_is_kept_whatever_the_key(scene: Scene) -> Shown {
    let topic = scene.topic(4).await;
    let producer = scene.producer(|_| {}).await;
    for partition in 0..4 {
        let record = ProduceRecord {
            topic: &topic,
            partition: Some(partition),
            key: Some(b"one key"),
            value: Some(b"x"),
            ..ProduceRecord::default()
        };
        producer.send(record).await.expect("is accepted");
    }
    producer.flush().await.expect("is delivered");
    let mut partitions: Vec<i32> = scene
        .read_topic(&topic, 4)
        .await
        .iter()
        .map(|read| read.partition)
        .collect();
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2, 3]);
    Ok(())
}

async fn keys_can_be_ignored(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    let producer = scene
        .producer(|config| {
            config.partitioner_ignore_keys = true;
            config.batch_bytes_max = 200;
            config.linger = Duration::ZERO;
        })
        .await;
    let mut partitions = BTreeSet::new();
    for _ in 0..500 {
        let record = ProduceRecord {
            topic: &topic,
            key: Some(b"one key"),
            value: Some(b"0123456789"),
            ..ProduceRecord::default()
        };
        partitions.insert(producer.send(record).await.expect("is accepted").partition());
    }
    producer.flush().await.expect("is delivered");
    assert_eq!(partitions, BTreeSet::from([0, 1]));
    Ok(())
}

async fn a_partition_that_is_not_there_is_refused_at_once(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    let producer = scene.producer(|_| {}).await;
    let record = ProduceRecord {
        topic: &topic,
        partition: Some(2),
        ..ProduceRecord::default()
    };
    let refused = producer.send(record).await.expect_err("there are two");
    assert!(
        matches!(
            &refused,
            SendError::Record(AppendError::UnknownPartition { partition_count: 2, .. })
        ),
        "{refused}"
    );
    Ok(())
}
