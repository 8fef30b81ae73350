//! Connections that end while nobody uses them, and brokers that say nothing.

use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig, FaultAction};
use engine_client::{CommittedOffset, Consumer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::scene::{
    FETCH, FIND_COORDINATOR, HEARTBEAT, JOIN_GROUP, LIST_OFFSETS, METADATA, Member, OFFSET_COMMIT, OFFSET_FETCH,
    SYNC_GROUP, Scene, numbers, run,
};

/// The broker closes what is idle for 100 ms. Requests come about then, so that many meet the end of their
/// connection on the way; none of them fails.
#[tokio::test]
async fn a_connection_that_the_broker_closed_as_idle_is_no_error_to_anybody() {
    let idle_max = Duration::from_millis(100);
    let config = BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        connection_idle_max: idle_max,
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config).await.expect("the embedded broker starts");
    let bootstrap = broker.address().to_string();
    let mut idle = TcpStream::connect(&bootstrap).await.expect("connects");
    assert_eq!(
        idle.read(&mut [0]).await.expect("is told"),
        0,
        "it does close what is idle"
    );
    let scene = Scene::on(Some(broker), bootstrap, 1).await;
    let admin = scene.admin().await;
    let producer = scene.producer().await;
    let consumer = Consumer::connect(scene.config()).await.expect("connects");
    let tps = [scene.tp(0)];
    for round in 0..60_u32 {
        // Every fraction of a millisecond around the end.
        tokio::time::sleep(idle_max - Duration::from_millis(3) + Duration::from_micros(u64::from(round) * 100)).await;
        scene.write(&producer, 1, round, 1).await;
        let topics = admin.list_topics();
        let ends = consumer.end_offsets(&tps);
        let committed = consumer.committed(&tps);
        let offset = CommittedOffset {
            offset: i64::from(round),
            ..CommittedOffset::default()
        };
        let offsets = [(scene.tp(0), offset)];
        let commit = consumer.commit(&offsets);
        let (topics, ends, committed, commit) = tokio::join!(topics, ends, committed, commit);
        assert_eq!(topics.expect("topics").len(), 1, "round {round}");
        assert_eq!(ends.expect("ends"), [(scene.tp(0), i64::from(round) + 1)]);
        committed.expect("reads");
        commit.expect("commits");
    }
    consumer.close().await;
}

/// Every request of a consumer meets silence once: it is given up after `request.timeout.ms`, and repeated.
#[tokio::test]
async fn a_request_that_is_never_answered_is_given_up_and_repeated() {
    for api_key in [
        FETCH,
        LIST_OFFSETS,
        METADATA,
        OFFSET_FETCH,
        FIND_COORDINATOR,
        JOIN_GROUP,
        SYNC_GROUP,
    ] {
        let scene = Scene::embedded(1).await;
        scene.produce(1, 0, 10).await;
        let mut config = scene.config();
        config.client.request_timeout = Duration::from_millis(600);
        config.fetch_wait_max = Duration::from_millis(200);
        config.rebalance_timeout = Some(Duration::from_millis(600));
        let started = Instant::now();
        let mut consumer = Consumer::connect(config).await.expect("connects");
        scene.inject(api_key, FaultAction::Silence);
        consumer.subscribe([scene.topic.as_str()]).expect("has a group");
        let mut member = Member::new(consumer);
        run(&mut [&mut member], &format!("10 records in spite of {api_key}"), |m| {
            m[0].seen.len() >= 10
        })
        .await;
        let took = started.elapsed();
        assert!(took < Duration::from_secs(25), "{api_key}: {took:?}");
        assert_eq!((member.seen.clone(), member.lost), (numbers(0..10), 0), "{api_key}");
        assert!(member.errors.is_empty(), "{:?}", member.errors);
        for api_key in [HEARTBEAT, OFFSET_COMMIT] {
            scene.inject(api_key, FaultAction::Silence);
            member.commit().await.expect("commits");
        }
        member.consumer.close().await;
    }
}
