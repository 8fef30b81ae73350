//! Our transactional producer on Apache Kafka: the older protocol on 3.9.2, the newer one (KIP-890) on 4.4.0.

use std::collections::BTreeSet;
use std::time::Duration;

use engine_client::{
    CommittedOffset, Consumer, ConsumerConfig, ConsumerGroupMetadata, Event, IsolationLevel, ProduceRecord, Producer,
    ProducerConfig, SendError, StartAt, TransactionError,
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
    offsets_are_committed_with_the_transaction_or_not_at_all(&scene(1).await).await;
    offsets_of_a_replaced_member_abort_the_transaction(&scene(1).await).await;
    a_newer_producer_fences_the_older_one_and_aborts_its_transaction(&scene(1).await).await;
    a_refused_record_fails_the_commit_and_the_next_transaction_goes_well(&scene(1).await).await;
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
    let is_done = tokio::select! {
        biased;
        outcome = producer.commit_transaction() => outcome.is_ok(),
        () = std::future::ready(()) => false, // Dropped after its first look.
    };
    if !is_done {
        producer.commit_transaction().await.expect("waits on");
    }
    producer.begin_transaction().expect("none is open");
    producer.abort_transaction().await.expect("aborts nothing");
    drop(producer); // Never blocks.
    assert_eq!(read_committed(scene, 5).await, [0, 1, 2, 3, 4]);
}

async fn offsets_are_committed_with_the_transaction_or_not_at_all(scene: &Scene) {
    let tp = scene.tp(0);
    let mut member = scene.member().await;
    run(&mut [&mut member], "its partition", |members| {
        !members[0].owned.is_empty()
    })
    .await;
    let producer = transactional(scene).await;
    producer.init_transactions().await.expect("initializes");
    // More than one call in a transaction, and offsets without records.
    for (end, offsets, expected) in [
        (End::Commit, &[3, 5][..], Some(5)),
        (End::Abort, &[7], Some(5)),
        (End::Commit, &[8], Some(8)),
    ] {
        producer.begin_transaction().expect("none is open");
        for offset in offsets {
            let group = member.consumer.group_metadata().expect("is a member");
            assert!(group.generation_id > 0 && !group.member_id.is_empty(), "{group:?}");
            let offsets = [(tp.clone(), committed_offset(*offset))];
            let sent = producer.send_offsets_to_transaction(&offsets, &group).await;
            sent.expect("its offsets are taken");
        }
        match end {
            End::Commit => producer.commit_transaction().await.expect("commits"),
            End::Abort => producer.abort_transaction().await.expect("aborts"),
        }
        let committed = stable_offset(scene).await;
        assert_eq!(committed, expected);
    }
    producer.close(Duration::from_secs(10)).await.expect("closes");
    member.consumer.close().await;
}

async fn offsets_of_a_replaced_member_abort_the_transaction(scene: &Scene) {
    let mut member = scene.member().await;
    run(&mut [&mut member], "its partition", |members| {
        !members[0].owned.is_empty()
    })
    .await;
    let mut stale = member.consumer.group_metadata().expect("is a member");
    stale.generation_id -= 1;
    let producer = transactional(scene).await;
    producer.init_transactions().await.expect("initializes");
    producer.begin_transaction().expect("none is open");
    send(&producer, scene, 0..3).await;
    let offsets = [(scene.tp(0), committed_offset(3))];
    let refused = producer
        .send_offsets_to_transaction(&offsets, &stale)
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, TransactionError::MustAbort { reason } if reason.contains("ILLEGAL_GENERATION")),
        "{refused}"
    );
    let refused = producer.commit_transaction().await;
    assert!(
        matches!(refused, Err(TransactionError::MustAbort { .. })),
        "{refused:?}"
    );
    producer.abort_transaction().await.expect("aborts");
    producer.begin_transaction().expect("none is open");
    send(&producer, scene, 10..13).await;
    let group = member.consumer.group_metadata().expect("is a member");
    let sent = producer.send_offsets_to_transaction(&offsets, &group).await;
    sent.expect("its offsets are taken");
    producer.commit_transaction().await.expect("commits");
    assert_eq!(stable_offset(scene).await, Some(3));
    assert_eq!(read_committed(scene, 3).await, [10, 11, 12]);
    producer.close(Duration::from_secs(10)).await.expect("closes");
    member.consumer.close().await;
}

async fn a_newer_producer_fences_the_older_one_and_aborts_its_transaction(scene: &Scene) {
    let older = transactional(scene).await;
    older.init_transactions().await.expect("initializes");
    older.begin_transaction().expect("none is open");
    send(&older, scene, 0..3).await;
    older.flush().await.expect("is delivered");
    let newer = transactional(scene).await;
    newer
        .init_transactions()
        .await
        .expect("waits until the older's transaction is aborted");
    let refused = older.commit_transaction().await.unwrap_err();
    assert!(matches!(refused, TransactionError::Fenced { .. }), "{refused}");
    for refused in [
        older.begin_transaction().unwrap_err(),
        older.abort_transaction().await.unwrap_err(),
        older.init_transactions().await.unwrap_err(),
    ] {
        assert!(matches!(refused, TransactionError::Fenced { .. }), "{refused}");
    }
    newer.begin_transaction().expect("none is open");
    send(&newer, scene, 10..13).await;
    newer.commit_transaction().await.expect("commits");
    assert_eq!(read_committed(scene, 3).await, [10, 11, 12]);

    // And one that is told by the partition's leader.
    newer.begin_transaction().expect("none is open");
    let newest = transactional(scene).await;
    newest.init_transactions().await.expect("initializes");
    newest.begin_transaction().expect("none is open");
    send(&newest, scene, 20..22).await;
    newest.commit_transaction().await.expect("commits");
    send(&newer, scene, 30..31).await;
    newer.flush().await.expect_err("its place is taken");
    let refused = newer.commit_transaction().await.unwrap_err();
    assert!(matches!(refused, TransactionError::Fenced { .. }), "{refused}");
    assert_eq!(read_committed(scene, 5).await, [10, 11, 12, 20, 21]);
    for producer in [older, newer, newest] {
        let _ = producer.close(Duration::from_secs(10)).await;
    }
}

async fn a_refused_record_fails_the_commit_and_the_next_transaction_goes_well(scene: &Scene) {
    let config = ProducerConfig {
        request_bytes_max: 4 << 20,
        ..transactional_config(scene)
    };
    let producer = Producer::connect(config).await.expect("connects");
    producer.init_transactions().await.expect("initializes");
    for round in 0..2 {
        producer.begin_transaction().expect("none is open");
        send(&producer, scene, 100 * round..100 * round + 3).await;
        let value = vec![b'x'; 2 << 20];
        let record = ProduceRecord {
            topic: &scene.topic,
            partition: Some(0),
            value: Some(&value),
            ..ProduceRecord::default()
        };
        let receipt = producer.send(record).await.expect("is accepted");
        let refused = producer.commit_transaction().await.unwrap_err();
        assert!(
            matches!(&refused, TransactionError::MustAbort { reason } if reason.contains("MESSAGE_TOO_LARGE")),
            "{refused}"
        );
        receipt.delivered().await.expect_err("the broker does not take it");
        let refused = producer.send(record).await.unwrap_err();
        assert!(refused.to_string().contains("must be aborted"), "{refused}");
        producer.abort_transaction().await.expect("aborts");
        producer.flush().await.expect("what was aborted is not told again");
        producer.begin_transaction().expect("none is open");
        send(&producer, scene, 100 * round + 10..100 * round + 13).await;
        producer.commit_transaction().await.expect("commits");
    }
    producer.close(Duration::from_secs(10)).await.expect("closes");
    assert_eq!(read_committed(scene, 6).await, [10, 11, 12, 110, 111, 112]);
}

enum End {
    Commit,
    Abort,
}

pub(crate) fn committed_offset(offset: i64) -> CommittedOffset {
    CommittedOffset {
        offset,
        ..CommittedOffset::default()
    }
}

/// A consumer that is no member of the scene's group.
pub(crate) fn outsider(scene: &Scene) -> ConsumerGroupMetadata {
    ConsumerGroupMetadata {
        group_id: scene.topic.clone(),
        generation_id: -1,
        member_id: String::new(),
        group_instance_id: None,
    }
}

/// What the group has committed for partition 0, once no transaction holds it.
pub(crate) async fn stable_offset(scene: &Scene) -> Option<i64> {
    let config = ConsumerConfig {
        isolation_level: IsolationLevel::ReadCommitted,
        ..scene.config()
    };
    let consumer = Consumer::connect(config).await.expect("connects");
    let committed = consumer.committed(&[scene.tp(0)]).await.expect("answers");
    consumer.close().await;
    committed[0].1.as_ref().map(|committed| committed.offset)
}

async fn transactional(scene: &Scene) -> Producer {
    Producer::connect(transactional_config(scene)).await.expect("connects")
}

pub(crate) fn transactional_config(scene: &Scene) -> ProducerConfig {
    ProducerConfig {
        transactional_id: Some(scene.topic.clone()),
        ..ProducerConfig::new(&scene.bootstrap)
    }
}

/// Numbers as values, round-robin over the partitions that there are.
pub(crate) async fn send(producer: &Producer, scene: &Scene, values: std::ops::Range<u32>) {
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
pub(crate) async fn read_committed(scene: &Scene, count: usize) -> Vec<u32> {
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
