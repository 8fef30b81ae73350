//! Our transactional producer on Apache Kafka: the older protocol on 3.9.2, the newer one (KIP-890) on 4.4.0.

use std::collections::BTreeSet;
use std::time::Duration;

use engine_client::{
    Consumer, Event, IsolationLevel, ProduceRecord, Producer, ProducerConfig, SendError, StartAt, TransactionError,
};

use crate::scene::{Member, Scene, run, sorted};

const PARTITIONS: i32 = 3;

/// `raises_epochs`: the cluster speaks the newer protocol, in which every transaction has an epoch of its own.
pub(crate) async fn ours_do_what_they_promise(bootstrap_servers: &str, raises_epochs: bool) {
    let scene = |partitions| Scene::on(None, bootstrap_servers.to_owned(), partitions);
    let many = scene(PARTITIONS).await;
    committed_records_are_read_and_aborted_ones_are_not(&many).await;
    let epochs = producer_epochs(&many).await;
    assert_eq!(epochs.len() > 3, raises_epochs, "{epochs:?}");
    an_empty_transaction_ends_and_the_order_of_calls_is_checked(&scene(1).await).await;
    a_dropped_commit_goes_on(&scene(1).await).await;
}

async fn committed_records_are_read_and_aborted_ones_are_not(scene: &Scene) {
    let producer = transactional(scene).await;
    producer.init_transactions().await.expect("initializes");
    let mut committed = Vec::new();
    // Many in a row: the markers of one are still being written when the next begins.
    for round in 0..10 {
        producer.begin_transaction().expect("none is open");
        let values = 100 * round..100 * round + 20;
        send(&producer, scene, values.clone()).await;
        if round % 3 == 2 {
            producer.flush().await.expect("delivers what is aborted then");
        }
        if round % 2 == 0 {
            producer.commit_transaction().await.expect("commits");
            committed.extend(values);
        } else {
            producer.abort_transaction().await.expect("aborts");
        }
    }
    producer.close(Duration::from_secs(10)).await.expect("closes");
    assert_eq!(read_committed(scene, committed.len()).await, committed);
}

async fn an_empty_transaction_ends_and_the_order_of_calls_is_checked(scene: &Scene) {
    let producer = transactional(scene).await;
    assert!(matches!(
        producer.begin_transaction(),
        Err(TransactionError::State { .. })
    ));
    let record = ProduceRecord {
        topic: &scene.topic,
        value: Some(b"1"),
        ..ProduceRecord::default()
    };
    assert!(matches!(producer.send(record).await, Err(SendError::Record(_))));
    producer.init_transactions().await.expect("initializes");
    producer.init_transactions().await.expect("again is once");
    let requests = producer.stats().requests;
    for _ in 0..2 {
        producer.begin_transaction().expect("none is open");
        producer.commit_transaction().await.expect("commits nothing");
        producer.begin_transaction().expect("none is open");
        producer.abort_transaction().await.expect("aborts nothing");
    }
    assert_eq!(producer.stats().requests, requests);
    let refused = producer.commit_transaction().await;
    assert!(matches!(refused, Err(TransactionError::State { .. })), "{refused:?}");
    // A closed producer takes its open transaction back.
    producer.begin_transaction().expect("none is open");
    send(&producer, scene, 0..1).await;
    producer.flush().await.expect("is delivered");
    producer.close(Duration::from_secs(10)).await.expect("closes");
    assert_eq!(read_committed(scene, 0).await, []);
}

async fn a_dropped_commit_goes_on(scene: &Scene) {
    let producer = transactional(scene).await;
    producer.init_transactions().await.expect("initializes");
    producer.begin_transaction().expect("none is open");
    send(&producer, scene, 0..5).await;
    let dropped = tokio::time::timeout(Duration::ZERO, producer.commit_transaction()).await;
    assert!(dropped.is_err(), "it takes longer than that");
    producer.commit_transaction().await.expect("waits on");
    producer.begin_transaction().expect("none is open");
    producer.abort_transaction().await.expect("aborts nothing");
    drop(producer); // Never blocks.
    assert_eq!(read_committed(scene, 5).await, [0, 1, 2, 3, 4]);
}

async fn transactional(scene: &Scene) -> Producer {
    let config = ProducerConfig {
        transactional_id: Some(scene.topic.clone()),
        ..ProducerConfig::new(&scene.bootstrap)
    };
    Producer::connect(config).await.expect("connects")
}

/// Numbers as values, round-robin over the partitions that there are.
async fn send(producer: &Producer, scene: &Scene, values: std::ops::Range<u32>) {
    let partitions = producer.partitions_for(&scene.topic).await.expect("is known");
    for number in values {
        let value = number.to_string();
        let record = ProduceRecord {
            topic: &scene.topic,
            partition: Some(number as i32 % partitions),
            value: Some(value.as_bytes()),
            ..ProduceRecord::default()
        };
        producer.send(record).await.expect("is accepted");
    }
}

/// What `read_committed` sees up to the end of every partition, sorted.
async fn read_committed(scene: &Scene, count: usize) -> Vec<u32> {
    let mut config = scene.config();
    config.isolation_level = IsolationLevel::ReadCommitted;
    let mut member = scene.reader(config).await;
    let partitions = member.consumer.partition_count(&scene.topic).await.expect("answers");
    let all: Vec<_> = (0..partitions.expect("exists"))
        .map(|partition| scene.tp(partition))
        .collect();
    // An end is answered before its markers are written everywhere: until then the last stable offset stays behind.
    let mut plain = scene.config();
    plain.isolation_level = IsolationLevel::ReadUncommitted;
    let high = scene.reader(plain).await.consumer;
    let ends = high.end_offsets(&all).await.expect("answers");
    member.consumer.assign(all.iter().cloned());
    let starts = all.iter().map(|tp| (tp.clone(), StartAt::Earliest));
    member.consumer.start(starts).expect("assigned");
    run(
        &mut [&mut member],
        "the end of every partition",
        |members: &[&mut Member]| {
            let consumer = &members[0].consumer;
            let at = |tp| consumer.position(tp).map(|position| position.offset);
            members[0].seen.len() >= count && ends.iter().all(|(tp, end)| at(tp) >= Some(*end))
        },
    )
    .await;
    assert!(member.errors.is_empty(), "{:?}", member.errors);
    let seen = std::mem::take(&mut member.seen);
    member.consumer.close().await;
    high.close().await;
    sorted(seen)
}

/// The epochs of the batches in partition 0.
async fn producer_epochs(scene: &Scene) -> BTreeSet<i16> {
    let mut consumer = Consumer::connect(scene.config()).await.expect("connects");
    let tp = scene.tp(0);
    let end = consumer.end_offsets(std::slice::from_ref(&tp)).await.expect("answers")[0].1;
    consumer.assign([tp.clone()]);
    consumer.start([(tp.clone(), StartAt::Earliest)]).expect("assigned");
    let mut epochs = BTreeSet::new();
    while consumer.position(&tp).is_none_or(|position| position.offset < end) {
        let event = tokio::time::timeout(Duration::from_secs(30), consumer.poll())
            .await
            .expect("more is there");
        if let Event::Fetched(fetched) = event.expect("no error") {
            epochs.extend(fetched.batches.iter().map(|batch| batch.header.producer_epoch));
        }
    }
    consumer.close().await;
    epochs
}
