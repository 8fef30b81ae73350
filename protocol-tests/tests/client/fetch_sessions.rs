//! Fetch sessions (KIP-227) with Apache Kafka: what is not named is read all the same, also where room is scarce.

use std::time::Instant;

use engine_broker::{Broker, BrokerConfig};
use engine_client::StartAt;

use crate::cluster::Cluster;
use crate::scene::{Member, Scene, numbers, run, sorted};

const PARTITIONS: i32 = 10;

/// The broker keeps one session in each of its eight shards.
const ROOM: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn readers_with_and_without_a_session_read_everything_once() {
    let crowded = ["--set", "max.incremental.fetch.session.cache.slots=8"];
    let Some(cluster) = Cluster::start_for_long("fetch-sessions", "4.4.0", 1, &crowded) else {
        return;
    };
    let scene = Scene::on(None, cluster.bootstrap_servers.clone(), PARTITIONS).await;
    readers_read_everything_once(&scene).await;
    // No session that was used within two minutes is evicted: there is room because the first readers ended theirs.
    let scene = Scene::on(None, cluster.bootstrap_servers.clone(), PARTITIONS).await;
    readers_read_everything_once(&scene).await;
}

/// More readers than there is room for. Some have a session, others have none.
async fn readers_read_everything_once(scene: &Scene) {
    let mut readers = Vec::new();
    for _ in 0..ROOM + 2 {
        let reader = reader(scene).await;
        readers.push(reader);
    }
    let mut sent = 0;
    for _ in 0..6 {
        scene.produce(PARTITIONS, sent, 15).await;
        sent += 15;
        let mut members: Vec<&mut Member> = readers.iter_mut().collect();
        let is_done = |m: &[&mut Member]| m.iter().all(|member| member.seen.len() >= sent as usize);
        run(&mut members, "a round of records", is_done).await;
    }
    // While nothing comes, the broker's silence confirms where the end is.
    let quiet = Instant::now();
    let confirms_ends = |reader: &Member| {
        (0..PARTITIONS).map(|partition| scene.tp(partition)).all(|tp| {
            let heard_at = reader.consumer.end_heard_at(&tp);
            reader.consumer.lag(&tp) == Some(0) && heard_at.is_some_and(|at| at > quiet)
        })
    };
    let mut members: Vec<&mut Member> = readers.iter_mut().collect();
    let are_done = |m: &[&mut Member]| m.iter().all(|member| confirms_ends(member));
    run(&mut members, "every end confirmed", are_done).await;
    let mut in_session = 0;
    for reader in readers {
        assert!(reader.errors.is_empty(), "{:?}", reader.errors);
        assert_eq!(sorted(reader.seen), numbers(0..sent));
        // Only in a session may an answer leave out what has not changed.
        in_session += usize::from(reader.consumer.stats().fetch.unchanged > 0);
        reader.consumer.close().await;
    }
    assert!((1..=ROOM).contains(&in_session), "{in_session} readers had a session");
}

/// An evicted session costs a fetch and no record.
#[tokio::test]
async fn readers_that_take_each_others_sessions_read_everything_once() {
    let config = BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        fetch_sessions_max: 1,
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config).await.expect("the embedded broker starts");
    let bootstrap = broker.address().to_string();
    let scene = Scene::on(Some(broker), bootstrap, PARTITIONS).await;
    let mut readers = [reader(&scene).await, reader(&scene).await];
    let mut sent = 0;
    for _ in 0..20 {
        scene.produce(PARTITIONS, sent, 15).await;
        sent += 15;
        let mut members: Vec<&mut Member> = readers.iter_mut().collect();
        let is_done = |m: &[&mut Member]| m.iter().all(|member| member.seen.len() >= sent as usize);
        run(&mut members, "a round of records", is_done).await;
    }
    let mut lost_sessions = 0;
    for reader in readers {
        assert!(reader.errors.is_empty(), "{:?}", reader.errors);
        assert_eq!(sorted(reader.seen), numbers(0..sent));
        lost_sessions += reader.consumer.stats().fetch.lost_sessions;
        reader.consumer.close().await;
    }
    assert!(lost_sessions > 0, "there was room for one");
}

async fn reader(scene: &Scene) -> Member {
    let mut reader = scene.reader(scene.config()).await;
    let partitions: Vec<_> = (0..PARTITIONS).map(|partition| scene.tp(partition)).collect();
    reader.consumer.assign(partitions.clone());
    let starts = partitions.into_iter().map(|tp| (tp, StartAt::Earliest));
    reader.consumer.start(starts).expect("assigned");
    reader
}
