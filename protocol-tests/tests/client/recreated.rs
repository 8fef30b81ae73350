//! A topic that is deleted and created anew under a running producer and running consumers (KIP-516).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use engine_broker::{Broker, BrokerConfig, Fault, FaultAction};
use engine_client::{
    AutoOffsetReset, ConsumerError, FetchError, ProduceRecord, Producer, ProducerConfig, StartAt, admin::NewTopic,
};
use tokio::task::JoinHandle;

use crate::{
    cluster::Cluster,
    scene::{FETCH, Member, PATIENCE, Scene, run},
    transactional_producer::{read_committed, send, transactional_config},
};

const PARTITIONS: i32 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn on_3_9_2_a_recreated_topic_is_written_and_read() {
    let Some(cluster) = Cluster::start_for_long("recreated-3-9-2", "3.9.2", 1, &[]) else {
        return;
    };
    a_recreated_topic_is_written_and_read(&cluster.bootstrap_servers, || ()).await;
    a_transaction_goes_on_in_the_recreated_topic(&cluster.bootstrap_servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_4_4_0_a_recreated_topic_is_written_and_read() {
    let Some(cluster) = Cluster::start("recreated-4-4-0", "4.4.0", 1) else {
        return;
    };
    a_recreated_topic_is_written_and_read(&cluster.bootstrap_servers, || ()).await;
    a_transaction_goes_on_in_the_recreated_topic(&cluster.bootstrap_servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_three_brokers_a_recreated_topic_is_written_and_read() {
    let Some(cluster) = Cluster::start_for_long("recreated-three", "4.4.0", 3, &[]) else {
        return;
    };
    a_recreated_topic_is_written_and_read(&cluster.bootstrap_servers, || ()).await;
    a_transaction_goes_on_in_the_recreated_topic(&cluster.bootstrap_servers).await;
}

/// Pitfall 13: a topic that had many leaders is created anew, and its epochs begin again.
#[tokio::test(flavor = "multi_thread")]
async fn on_the_embedded_broker_a_recreated_topic_is_written_and_read() {
    let broker = Broker::start(BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..BrokerConfig::default()
    });
    let broker = broker.await.expect("starts");
    let move_leaders = || {
        broker.inject(Fault {
            times: 5,
            ..Fault::once(FETCH, FaultAction::MoveLeaders)
        });
    };
    a_recreated_topic_is_written_and_read(&broker.address().to_string(), move_leaders).await;
    a_transaction_goes_on_in_the_recreated_topic(&broker.address().to_string()).await;
    broker.shutdown().await;
}

async fn a_recreated_topic_is_written_and_read(bootstrap_servers: &str, age: impl Fn()) {
    let scene = Scene::on(None, bootstrap_servers.to_owned(), PARTITIONS).await;
    let writer = Writer::start(&scene).await;
    let mut strict = reader(&scene, AutoOffsetReset::None).await;
    let mut lenient = reader(&scene, AutoOffsetReset::Earliest).await;
    run(&mut [&mut strict, &mut lenient], "the old topic is read", |members| {
        members.iter().all(|member| member.seen.len() > 50)
    })
    .await;
    age();
    let before = writer.next();
    run(&mut [&mut strict, &mut lenient], "it is still read", |members| {
        members.iter().all(|member| member.seen.contains(&(before + 20)))
    })
    .await;

    let admin = scene.admin().await;
    let deleted = admin.delete_topics(&[&scene.topic]).await.expect("answers");
    assert_eq!(deleted, [(scene.topic.clone(), Ok(()))]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    create(&scene).await;

    // Sent when the new topic was there: all of it must be in it.
    let first = writer.next() + 1;
    run(&mut [&mut lenient], "the new topic is read", |members| {
        members[0].seen.contains(&(first + 100)) && members[0].seen.contains(&(first + 101))
    })
    .await;
    run(&mut [&mut strict], "the error is told", |members| {
        members[0].errors.len() >= PARTITIONS as usize
    })
    .await;
    let is_recreated = |error: &ConsumerError| matches!(error, ConsumerError::Fetch(FetchError::TopicRecreated { .. }));
    assert!(strict.errors.iter().all(is_recreated), "{:?}", strict.errors);
    assert!(strict.seen.iter().all(|number| *number < first), "it stands still");
    assert!(lenient.errors.is_empty(), "{:?}", lenient.errors);

    let last = writer.stop().await;
    let new = read_all(&scene).await;
    for partition in 0..PARTITIONS as u32 {
        let numbers: Vec<u32> = new.iter().copied().filter(|number| number % 2 == partition).collect();
        let rising: Vec<u32> = (numbers[0]..last).step_by(2).collect();
        assert_eq!(numbers, rising, "everything from some record on, once and in order");
        assert!(numbers[0] <= first + 1, "{} {first}", numbers[0]);
    }
    let twice = lenient.seen.iter().filter(|number| **number == first + 50).count();
    assert_eq!(twice, 1);
    strict.consumer.close().await;
    lenient.consumer.close().await;
}

/// What of the transaction was in the old topic is gone; what comes after that is committed with it, and so are those
/// that follow.
async fn a_transaction_goes_on_in_the_recreated_topic(bootstrap_servers: &str) {
    let scene = Scene::on(None, bootstrap_servers.to_owned(), PARTITIONS).await;
    let mut config = transactional_config(&scene);
    config.client.allow_auto_create_topics = false;
    let producer = Producer::connect(config).await.expect("connects");
    producer.init_transactions().await.expect("initializes");
    producer.begin_transaction().expect("none is open");
    send(&producer, &scene, 0..20).await;
    producer.commit_transaction().await.expect("commits");
    producer.begin_transaction().expect("none is open");
    send(&producer, &scene, 20..40).await;
    producer.flush().await.expect("is delivered");
    let admin = scene.admin().await;
    admin.delete_topics(&[&scene.topic]).await.expect("answers");
    create(&scene).await;
    send(&producer, &scene, 40..60).await;
    producer.commit_transaction().await.expect("commits");
    producer.begin_transaction().expect("none is open");
    send(&producer, &scene, 60..80).await;
    producer.abort_transaction().await.expect("aborts");
    producer.begin_transaction().expect("none is open");
    send(&producer, &scene, 80..100).await;
    producer.commit_transaction().await.expect("commits");
    producer.close(Duration::from_secs(10)).await.expect("closes");
    let expected: Vec<u32> = (40..60).chain(80..100).collect();
    assert_eq!(read_committed(&scene, expected.len()).await, expected);
}

async fn reader(scene: &Scene, auto_offset_reset: AutoOffsetReset) -> Member {
    let mut config = scene.config();
    config.group_id = None;
    config.client.allow_auto_create_topics = false;
    config.auto_offset_reset = auto_offset_reset;
    let mut member = scene.reader(config).await;
    let all: Vec<_> = (0..PARTITIONS).map(|partition| scene.tp(partition)).collect();
    member.consumer.assign(all.iter().cloned());
    let starts = all.into_iter().map(|tp| (tp, StartAt::Earliest));
    member.consumer.start(starts).expect("assigned");
    member
}

/// All of the topic as it is now.
async fn read_all(scene: &Scene) -> Vec<u32> {
    let mut member = reader(scene, AutoOffsetReset::None).await;
    let all: Vec<_> = (0..PARTITIONS).map(|partition| scene.tp(partition)).collect();
    let ends = member.consumer.end_offsets(&all).await.expect("answers");
    let count: i64 = ends.iter().map(|(_, end)| end).sum();
    run(&mut [&mut member], "all of the new topic", |members| {
        members[0].seen.len() >= count as usize
    })
    .await;
    member.consumer.close().await;
    member.seen
}

/// Creates the topic again, as soon as the cluster lets go of the old one.
async fn create(scene: &Scene) {
    let admin = scene.admin().await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let topic = NewTopic {
            name: scene.topic.clone(),
            partitions: Some(PARTITIONS),
            replication_factor: Some(1),
            ..NewTopic::default()
        };
        match &admin.create_topics(&[topic]).await.expect("answers")[0].1 {
            Ok(()) => return,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends rising numbers, each to the partition that it names, until it is stopped.
struct Writer {
    next: Arc<AtomicU32>,
    stopped: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Writer {
    async fn start(scene: &Scene) -> Writer {
        let mut config = ProducerConfig::new(&scene.bootstrap);
        config.client.allow_auto_create_topics = false;
        config.client.retry_backoff = Duration::from_millis(20);
        config.linger = Duration::ZERO;
        let producer = Producer::connect(config).await.expect("connects");
        let (next, stopped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (topic, counter, is_stopped) = (scene.topic.clone(), next.clone(), stopped.clone());
        let task = tokio::spawn(async move {
            let mut receipts = Vec::new();
            while !is_stopped.load(Ordering::Relaxed) {
                let number = counter.load(Ordering::Relaxed);
                let value = number.to_string();
                let record = ProduceRecord {
                    topic: &topic,
                    partition: Some(number as i32 % PARTITIONS),
                    value: Some(value.as_bytes()),
                    ..ProduceRecord::default()
                };
                receipts.push(producer.send(record).await.expect("is accepted"));
                counter.store(number + 1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            producer.close(Duration::from_secs(30)).await.expect("all is delivered");
            for receipt in receipts {
                receipt.delivered().await.expect("is delivered");
            }
        });
        Writer { next, stopped, task }
    }

    fn next(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// Waits until everything is acknowledged, and tells how many numbers were sent.
    async fn stop(self) -> u32 {
        self.stopped.store(true, Ordering::Relaxed);
        self.task.await.expect("every receipt is a good one");
        self.next.load(Ordering::Relaxed)
    }
}
