//! Our transactional producer against an embedded broker that cuts connections, moves coordinators and refuses.

use std::time::Duration;

use engine_broker::{Broker, BrokerConfig, FaultAction};
use engine_client::{Producer, ProducerConfig, TransactionError};
use engine_wire::error_code::ErrorCode;

use crate::scene::{FIND_COORDINATOR, Scene};
use crate::transactional_producer::{
    committed_offset, outsider, read_committed, send, stable_offset, transactional_config,
};

const PRODUCE: i16 = 0;
const INIT_PRODUCER_ID: i16 = 22;
const ADD_PARTITIONS_TO_TXN: i16 = 24;
const ADD_OFFSETS_TO_TXN: i16 = 25;
const END_TXN: i16 = 26;
const TXN_OFFSET_COMMIT: i16 = 28;

const OLDER: [i16; 7] = [
    PRODUCE,
    FIND_COORDINATOR,
    INIT_PRODUCER_ID,
    ADD_PARTITIONS_TO_TXN,
    ADD_OFFSETS_TO_TXN,
    END_TXN,
    TXN_OFFSET_COMMIT,
];
const NEWER: [i16; 5] = [PRODUCE, FIND_COORDINATOR, INIT_PRODUCER_ID, END_TXN, TXN_OFFSET_COMMIT];

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_committed_once_whichever_connection_breaks() {
    for (version, apis) in [(1, &OLDER[..]), (2, &NEWER)] {
        let scene = scene(version).await;
        let mut expected = Vec::new();
        for api_key in apis {
            for action in [
                FaultAction::Disconnect,
                FaultAction::ApplyThenDisconnect,
                FaultAction::Error(match *api_key {
                    PRODUCE => ErrorCode::NOT_LEADER_OR_FOLLOWER,
                    FIND_COORDINATOR => ErrorCode::COORDINATOR_NOT_AVAILABLE,
                    _ => ErrorCode::NOT_COORDINATOR,
                }),
            ] {
                scene.inject(*api_key, action);
                let first = expected.len() as u32;
                commit_one(&scene, first).await;
                expected.extend(first..first + 3);
                let offset = stable_offset(&scene).await;
                assert_eq!(offset, Some(expected.len() as i64), "{version}: {api_key} {action:?}");
            }
        }
        assert_eq!(
            read_committed(&scene, expected.len()).await,
            expected,
            "version {version}"
        );
        scene.broker.expect("is embedded").shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_coordinator_says_of_a_commit_is_told_and_decides_what_leads_on() {
    for version in [1, 2] {
        let scene = scene(version).await;
        let producer = connect(&scene).await;
        producer.init_transactions().await.expect("initializes");
        for code in [ErrorCode::TRANSACTION_ABORTABLE, ErrorCode::INVALID_PRODUCER_ID_MAPPING] {
            producer.begin_transaction().expect("none is open");
            send(&producer, &scene, 0..3).await;
            scene.inject(END_TXN, FaultAction::Error(code));
            let refused = producer.commit_transaction().await.unwrap_err();
            assert!(
                matches!(&refused, TransactionError::MustAbort { reason } if reason.contains(code.name())),
                "{refused}"
            );
            producer.abort_transaction().await.expect("aborts");
        }
        producer.begin_transaction().expect("none is open");
        send(&producer, &scene, 10..13).await;
        producer.commit_transaction().await.expect("commits");

        producer.begin_transaction().expect("none is open");
        send(&producer, &scene, 20..23).await;
        scene.inject(END_TXN, FaultAction::Error(ErrorCode::PRODUCER_FENCED));
        let refused = producer.commit_transaction().await.unwrap_err();
        assert!(matches!(refused, TransactionError::Fenced { .. }), "{refused}");
        producer.close(Duration::from_secs(10)).await.expect("closes");

        // The next one with the same id ends what is open.
        let producer = connect(&scene).await;
        producer.init_transactions().await.expect("initializes");
        assert_eq!(read_committed(&scene, 3).await, [10, 11, 12]);
        scene.inject(
            INIT_PRODUCER_ID,
            FaultAction::Error(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        );
        let refused = connect(&scene).await.init_transactions().await.unwrap_err();
        assert!(matches!(refused, TransactionError::Fatal { .. }), "{refused}");
        scene.broker.expect("is embedded").shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_takes_too_long_can_be_waited_for_again() {
    let scene = scene(2).await;
    let config = ProducerConfig {
        block_max: Duration::from_millis(200),
        ..quick(&scene)
    };
    let producer = Producer::connect(config).await.expect("connects");
    // On a busy machine that too takes longer.
    while let Err(error) = producer.init_transactions().await {
        assert!(matches!(error, TransactionError::TimedOut { .. }), "{error}");
    }
    producer.begin_transaction().expect("none is open");
    send(&producer, &scene, 0..3).await;
    // So late that a machine which is busy for a moment does not see both at once, the answer and the end of the waiting.
    scene.inject(END_TXN, FaultAction::Delay(Duration::from_secs(5)));
    let late = producer.commit_transaction().await.unwrap_err();
    assert!(matches!(late, TransactionError::TimedOut { .. }), "{late}");
    let refused = producer.abort_transaction().await.unwrap_err();
    assert!(matches!(refused, TransactionError::State { .. }), "{refused}");
    while let Err(error) = producer.commit_transaction().await {
        assert!(matches!(error, TransactionError::TimedOut { .. }), "{error}");
    }
    assert_eq!(read_committed(&scene, 3).await, [0, 1, 2]);
    scene.broker.expect("is embedded").shutdown().await;
}

async fn commit_one(scene: &Scene, first: u32) {
    let producer = connect(scene).await;
    producer.init_transactions().await.expect("initializes");
    producer.begin_transaction().expect("none is open");
    send(&producer, scene, first..first + 3).await;
    let offsets = [(scene.tp(0), committed_offset(i64::from(first) + 3))];
    let sent = producer.send_offsets_to_transaction(&offsets, &outsider(scene)).await;
    sent.expect("nobody is in the group");
    producer.commit_transaction().await.expect("commits");
    producer.close(Duration::from_secs(10)).await.expect("closes");
}

async fn connect(scene: &Scene) -> Producer {
    Producer::connect(quick(scene)).await.expect("connects")
}

fn quick(scene: &Scene) -> ProducerConfig {
    let mut config = transactional_config(scene);
    config.client.retry_backoff = Duration::from_millis(10);
    config.client.reconnect_backoff = Duration::from_millis(10);
    config
}

async fn scene(transaction_version: i16) -> Scene {
    let broker = Broker::start(BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        transaction_version,
        ..BrokerConfig::default()
    });
    let broker = broker.await.expect("the embedded broker starts");
    let bootstrap = broker.address().to_string();
    Scene::on(Some(broker), bootstrap, 2).await
}
