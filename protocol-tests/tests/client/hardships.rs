//! What a broker does to its clients in ordinary life: quotas, idle connections, a machine that freezes for a moment.

use std::time::{Duration, Instant};

use engine_client::{CommittedOffset, Consumer, ConsumerConfig, StartAt};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::cluster::Cluster;
use crate::scene::{Member, Scene, numbers, run};

const IDLE_MAX: Duration = Duration::from_millis(1_500);
const BYTES_PER_SECOND: i32 = 400_000;

#[tokio::test(flavor = "multi_thread")]
async fn consumers_bear_what_2_8_2_and_4_4_0_do_to_them() {
    let idle_max = format!("connections.max.idle.ms={}", IDLE_MAX.as_millis());
    for version in ["2.8.2", "4.4.0"] {
        let Some(cluster) = Cluster::start_for_long("hardships", version, 1, &["--set", &idle_max]) else {
            return;
        };
        idle_connections_are_opened_again(&cluster).await;
        a_quota_slows_a_reader_down_and_costs_it_nothing(&cluster).await;
        a_frozen_broker_costs_nothing_but_time(&cluster).await;
    }
}

async fn scene(cluster: &Cluster) -> Scene {
    Scene::on(None, cluster.bootstrap_servers.clone(), 1).await
}

async fn reader(scene: &Scene, config: ConsumerConfig) -> Member {
    let mut member = scene.reader(config).await;
    member.consumer.assign([scene.tp(0)]);
    member
        .consumer
        .start([(scene.tp(0), StartAt::Earliest)])
        .expect("assigned");
    member
}

async fn idle_connections_are_opened_again(cluster: &Cluster) {
    let scene = scene(cluster).await;
    let admin = scene.admin().await;
    let producer = scene.producer().await;
    let consumer = Consumer::connect(scene.config()).await.expect("connects");
    for round in 0..3 {
        scene.write(&producer, 1, round, 1).await;
        let next = i64::from(round) + 1;
        assert_eq!(
            consumer.end_offsets(&[scene.tp(0)]).await.expect("ends"),
            [(scene.tp(0), next)]
        );
        let committed = CommittedOffset {
            offset: next,
            ..CommittedOffset::default()
        };
        consumer.commit(&[(scene.tp(0), committed)]).await.expect("commits");
        let read = consumer.committed(&[scene.tp(0)]).await.expect("reads");
        assert_eq!(read[0].1.as_ref().map(|committed| committed.offset), Some(next));
        assert!(!admin.list_topics().await.expect("lists").is_empty());
        // This one does nothing either, and must be closed before the next round.
        let mut idle = TcpStream::connect(&cluster.bootstrap_servers).await.expect("connects");
        tokio::time::sleep(IDLE_MAX).await;
        let closed = tokio::time::timeout(Duration::from_secs(10), idle.read(&mut [0])).await;
        assert_eq!(closed.expect("the broker closes idle connections").expect("reads"), 0);
    }
    consumer.close().await;
}

async fn a_quota_slows_a_reader_down_and_costs_it_nothing(cluster: &Cluster) {
    let scene = scene(cluster).await;
    let client = format!("slow-{}", scene.topic);
    let rate = format!("consumer_byte_rate={BYTES_PER_SECOND}");
    let altered = [
        "--alter",
        "--add-config",
        &rate,
        "--entity-type",
        "clients",
        "--entity-name",
        &client,
    ];
    cluster.tool("kafka.admin.ConfigCommand", &altered);
    scene.produce_bytes(1, 400, 10_000).await; // 4 MB: the window of the quota is 11 s, so the first burst is free.
    let mut config = scene.config();
    config.client.client_id = client;
    config.partition_fetch_bytes_max = 200_000;
    config.session_timeout = Duration::from_secs(6);
    let mut consumer = Consumer::connect(config).await.expect("connects");
    consumer.subscribe([scene.topic.as_str()]).expect("has a group");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut member = Member::new(consumer);
    let mut records = 0;
    while records < 400 {
        assert!(
            Instant::now() < deadline,
            "{records} records: {:?}",
            member.consumer.stats()
        );
        match member.consumer.poll().await {
            Ok(engine_client::Event::Fetched(fetched)) => {
                records += fetched
                    .batches
                    .iter()
                    .map(|batch| batch.header.record_count)
                    .sum::<i32>();
            }
            other => member.handle(other).await,
        }
    }
    let stats = member.consumer.stats();
    assert!(stats.fetch.throttled > 0, "{stats:?}");
    assert_eq!((records, member.lost, member.errors.len()), (400, 0, 0));
    assert_eq!(stats.membership.losses, 0, "heartbeats go on");
    member.consumer.close().await;
}

async fn a_frozen_broker_costs_nothing_but_time(cluster: &Cluster) {
    let scene = scene(cluster).await;
    let producer = scene.producer().await;
    scene.write(&producer, 1, 0, 50).await;
    let mut config = scene.config();
    config.client.request_timeout = Duration::from_secs(2);
    config.session_timeout = Duration::from_secs(30);
    let mut alone = reader(&scene, config.clone()).await;
    let mut consumer = Consumer::connect(config).await.expect("connects");
    consumer.subscribe([scene.topic.as_str()]).expect("has a group");
    let mut member = Member::new(consumer);
    let both = |m: &[&mut Member], count| m.iter().all(|member| member.seen.len() >= count);
    run(&mut [&mut alone, &mut member], "50 records", |m| both(m, 50)).await;
    cluster.node("pause", 1);
    // Longer than any request is waited for: connections are given up and opened to a broker that accepts and is silent.
    let frozen = Instant::now() + Duration::from_secs(5);
    while Instant::now() < frozen {
        alone.step().await;
        member.step().await;
    }
    cluster.node("resume", 1);
    scene.write(&producer, 1, 50, 50).await;
    run(&mut [&mut alone, &mut member], "50 more", |m| both(m, 100)).await;
    for member in [alone, member] {
        assert_eq!(member.seen, numbers(0..100), "each once");
        assert_eq!((member.lost, member.errors.len()), (0, 0), "{:?}", member.errors);
        member.consumer.close().await;
    }
}
