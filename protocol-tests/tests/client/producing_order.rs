//! Order, and each record once, whatever a broker does to the producer's requests.

use std::collections::BTreeMap;
use std::time::Duration;

use engine_broker::{Fault, FaultAction};
use engine_client::{Acks, ConsumerConfig, ProduceRecord, Producer, ProducerConfig, StartAt, admin::NewTopic};
use engine_wire::error_code::ErrorCode;

use crate::scene::{Scene, run};

const PRODUCE: i16 = 0;
const PARTITIONS: u32 = 2;
const RECORDS: u32 = 1_000;

/// What requests meet in turn, with some between that meet nothing.
const TROUBLE: [FaultAction; 9] = [
    FaultAction::Disconnect,
    FaultAction::ApplyThenDisconnect,
    FaultAction::Error(ErrorCode::NOT_LEADER_OR_FOLLOWER),
    FaultAction::Delay(Duration::from_millis(5)),
    FaultAction::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
    FaultAction::Error(ErrorCode::REQUEST_TIMED_OUT),
    FaultAction::MoveLeaders,
    FaultAction::Throttle(Duration::from_millis(5)),
    FaultAction::Error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
];

#[tokio::test(flavor = "multi_thread")]
async fn with_one_to_five_requests_in_flight_every_record_is_written_once_and_in_order() {
    for in_flight_max in 1..=5 {
        let scene = Scene::embedded(PARTITIONS as i32).await;
        trouble(&scene, &TROUBLE, 3);
        let config = ProducerConfig {
            in_flight_max,
            ..quick(&scene)
        };
        let stats = send_all(&scene, config).await;
        assert!(stats.retries > 10, "{in_flight_max} in flight: {stats:?}");
        for (partition, numbers) in read(&scene).await {
            let expected: Vec<u32> = (partition..RECORDS).step_by(PARTITIONS as usize).collect();
            assert_eq!(numbers, expected, "{in_flight_max} in flight, partition {partition}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_idempotence_and_one_request_in_flight_records_may_repeat_but_keep_their_order() {
    for acks in [Acks::All, Acks::Leader] {
        let scene = Scene::embedded(PARTITIONS as i32).await;
        trouble(&scene, &TROUBLE, 3);
        let config = ProducerConfig {
            acks,
            enable_idempotence: false,
            in_flight_max: 1,
            ..quick(&scene)
        };
        send_all(&scene, config).await;
        let mut repeated = 0;
        for (partition, numbers) in read(&scene).await {
            let expected: Vec<u32> = (partition..RECORDS).step_by(PARTITIONS as usize).collect();
            let mut first_times: Vec<u32> = Vec::new();
            for number in &numbers {
                if first_times.last().is_none_or(|last| last < number) {
                    first_times.push(*number);
                }
            }
            assert_eq!(first_times, expected, "{acks:?}, partition {partition}");
            repeated += numbers.len() - expected.len();
        }
        assert!(
            repeated > 0,
            "{acks:?}: the broker was made to write some before it cut the connection"
        );
    }
}

/// Pitfall 9: the broker forgets the producer again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_loses_the_producers_place_costs_an_epoch_and_no_record() {
    let forgets = [
        FaultAction::Error(ErrorCode::UNKNOWN_PRODUCER_ID),
        FaultAction::Error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        FaultAction::Error(ErrorCode::INVALID_PRODUCER_EPOCH),
    ];
    for in_flight_max in [1, 5] {
        let scene = Scene::embedded(PARTITIONS as i32).await;
        trouble(&scene, &forgets, 6);
        let config = ProducerConfig {
            in_flight_max,
            ..quick(&scene)
        };
        let stats = send_all(&scene, config).await;
        // With one in flight, it is always the oldest that is refused.
        assert!(in_flight_max > 1 || stats.sequence_restarts > 10, "{stats:?}");
        assert!(stats.errors.contains_key("UNKNOWN_PRODUCER_ID"), "{stats:?}");
        for (partition, numbers) in read(&scene).await {
            let expected: Vec<u32> = (partition..RECORDS).step_by(PARTITIONS as usize).collect();
            assert_eq!(numbers, expected, "{in_flight_max} in flight, partition {partition}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_split_under_fire_are_written_once_and_in_order() {
    let mut scene = Scene::embedded(1).await;
    scene.topic = format!("{}-small", scene.topic);
    let topic = NewTopic {
        name: scene.topic.clone(),
        partitions: Some(PARTITIONS as i32),
        replication_factor: Some(1),
        configs: BTreeMap::from([("max.message.bytes".to_owned(), "150".to_owned())]),
    };
    let created = scene.admin().await.create_topics(&[topic]).await.expect("answers");
    assert_eq!(created, [(scene.topic.clone(), Ok(()))]);
    trouble(&scene, &TROUBLE, 3);
    let config = ProducerConfig {
        batch_bytes_max: 600,
        linger: Duration::from_millis(2),
        ..quick(&scene)
    };
    let stats = send_all(&scene, config).await;
    assert!(stats.splits > 20 && stats.retries > 10, "{stats:?}");
    assert_eq!(stats.sequence_restarts, 0, "{stats:?}");
    for (partition, numbers) in read(&scene).await {
        let expected: Vec<u32> = (partition..RECORDS).step_by(PARTITIONS as usize).collect();
        assert_eq!(numbers, expected, "partition {partition}");
    }
}

/// Each of these a few times, with `pause` requests between that meet nothing.
fn trouble(scene: &Scene, actions: &[FaultAction], pause: u32) {
    let broker = scene.broker.as_ref().expect("is the embedded one");
    for action in actions.iter().cycle().take(30) {
        broker.inject(Fault {
            skip: pause,
            ..Fault::once(PRODUCE, *action)
        });
    }
}

/// Many small batches, sent again soon.
fn quick(scene: &Scene) -> ProducerConfig {
    let mut config = ProducerConfig {
        batch_bytes_max: 150,
        linger: Duration::ZERO,
        ..ProducerConfig::new(&scene.bootstrap)
    };
    config.client.retry_backoff = Duration::from_millis(2);
    config.client.retry_backoff_max = Duration::from_millis(10);
    config.client.reconnect_backoff = Duration::from_millis(1);
    config
}

async fn send_all(scene: &Scene, config: ProducerConfig) -> engine_client::ProducerStats {
    let producer = Producer::connect(config).await.expect("connects");
    let mut receipts = Vec::new();
    for number in 0..RECORDS {
        let value = number.to_string();
        let record = ProduceRecord {
            topic: &scene.topic,
            partition: Some((number % PARTITIONS) as i32),
            value: Some(value.as_bytes()),
            ..ProduceRecord::default()
        };
        receipts.push(producer.send(record).await.expect("is accepted"));
    }
    producer.close(Duration::from_secs(60)).await.expect("all is delivered");
    for receipt in receipts {
        receipt.delivered().await.expect("was delivered");
    }
    producer.stats()
}

/// What is in each partition, in the order of the log.
async fn read(scene: &Scene) -> BTreeMap<u32, Vec<u32>> {
    let mut partitions = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let tp = scene.tp(partition as i32);
        let config = ConsumerConfig {
            group_id: None,
            ..scene.config()
        };
        let mut member = scene.reader(config).await;
        member.consumer.assign([tp.clone()]);
        let ends = member
            .consumer
            .end_offsets(std::slice::from_ref(&tp))
            .await
            .expect("answers");
        member.consumer.start([(tp, StartAt::Earliest)]).expect("assigned");
        run(&mut [&mut member], "all of the partition", |members| {
            members[0].seen.len() as i64 >= ends[0].1
        })
        .await;
        member.consumer.close().await;
        partitions.insert(partition, member.seen);
    }
    partitions
}
