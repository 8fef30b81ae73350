//! Several replicas of Apache Kafka: reading from the nearest one (KIP-392), and logs that are cut (KIP-320).
//!
//! Producers connect before a node hangs: it may be the controller, and without one nobody gets a producer id.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine_client::admin::{NewTopic, PartitionDescription};
use engine_client::{AutoOffsetReset, ConsumerConfig, ConsumerError, FetchError, StartAt};

use crate::cluster::Cluster;
use crate::scene::{Member, Scene, numbers, run, sorted};

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_4_4_0_are_read_where_they_are_near_and_as_far_as_they_agree() {
    let Some(cluster) = Cluster::start_for_long("replicas", "4.4.0", 3, &[]) else {
        return;
    };
    the_nearest_replica_is_read_and_left_when_it_hangs(&cluster).await;
    a_reader_that_starts_while_a_broker_hangs_reads_what_the_others_lead(&cluster).await;
    a_log_that_was_cut_is_an_error_or_read_on_from_where_it_agrees(&cluster).await;
}

async fn the_nearest_replica_is_read_and_left_when_it_hangs(cluster: &Cluster) {
    let scene = scene(cluster, "near", 3, &[("min.insync.replicas", "1")]).await;
    let placed = placed(&scene, |partition| partition.in_sync_replicas.len() == 3).await;
    let near = follower(&placed);
    let producer = scene.producer().await;
    scene.write(&producer, 1, 0, 100).await;
    let mut config = ConsumerConfig {
        client_rack: Some(format!("rack{near}")),
        ..scene.config()
    };
    config.client.request_timeout = Duration::from_secs(3);
    let mut member = reader(&scene, config).await;
    run(&mut [&mut member], "100 records", |m| m[0].seen.len() >= 100).await;
    let stats = member.consumer.stats().fetch;
    assert!(stats.from_followers > 0, "the leader was read: {stats:?}");
    cluster.node("pause", near);
    scene.write(&producer, 1, 100, 100).await;
    run(&mut [&mut member], "100 more records", |m| m[0].seen.len() >= 200).await;
    cluster.node("resume", near);
    assert_eq!(member.seen, numbers(0..200));
    assert!(member.errors.is_empty(), "{:?}", member.errors);
    member.consumer.close().await;
}

async fn a_reader_that_starts_while_a_broker_hangs_reads_what_the_others_lead(cluster: &Cluster) {
    let scene = Scene::on(None, cluster.bootstrap_servers.clone(), 3).await;
    scene.produce(3, 0, 90).await;
    let admin = scene.admin().await;
    let described = admin.describe_topics(&[&scene.topic]).await.expect("answers");
    let leaders = described[0].1.as_ref().expect("exists").partitions.iter();
    let leaders: Vec<i32> = leaders
        .map(|partition| partition.leader.expect("has a leader"))
        .collect();
    assert_eq!(
        leaders.iter().collect::<std::collections::BTreeSet<_>>().len(),
        3,
        "one each"
    );
    // One replica each: what the hanging broker leads, nobody else has. It accepts the connection on which it is asked
    // where to start, and says nothing.
    let mut config = scene.config();
    config.client.connection_setup_timeout = Duration::from_secs(30);
    let mut member = scene.reader(config).await;
    let all: Vec<_> = (0..3).map(|partition| scene.tp(partition)).collect();
    member.consumer.assign(all.clone());
    let count = member.consumer.partition_count(&scene.topic).await;
    assert_eq!(count.expect("is told"), Some(3), "the leaders are known");
    let hanging = usize::try_from(leaders[0]).expect("small");
    cluster.node("pause", hanging);
    tokio::time::sleep(Duration::from_millis(300)).await; // What it was at work on is done.
    let starts = all.into_iter().map(|tp| (tp, StartAt::Earliest));
    member.consumer.start(starts).expect("assigned");
    let started = Instant::now();
    run(&mut [&mut member], "what the others lead", |m| m[0].seen.len() >= 60).await;
    let took = started.elapsed();
    assert!(
        took < Duration::from_secs(15),
        "the hanging one is waited for: {took:?}"
    );
    cluster.node("resume", hanging);
    run(&mut [&mut member], "the rest", |m| m[0].seen.len() >= 90).await;
    assert_eq!(sorted(member.seen.clone()), numbers(0..90));
    assert!(member.errors.is_empty(), "{:?}", member.errors);
    member.consumer.close().await;
}

async fn a_log_that_was_cut_is_an_error_or_read_on_from_where_it_agrees(cluster: &Cluster) {
    let unclean = [("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")];
    let scene = scene(cluster, "cut", 2, &unclean).await;
    let placed_before = placed(&scene, |partition| partition.in_sync_replicas.len() == 2).await;
    let (leader, behind) = (placed_before.leader.expect("has a leader"), follower(&placed_before));
    let producer = scene.producer().await;
    scene.write(&producer, 1, 0, 10).await;
    let strict = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::None,
        ..scene.config()
    };
    let mut members = [reader(&scene, strict).await, reader(&scene, scene.config()).await];
    read(&mut members, 10).await;
    // A fetch of the follower is under way at the leader and may still take the next record; the ten after that one
    // only the leader has when the other one is elected without them.
    cluster.node("pause", behind);
    scene.write(&producer, 1, 10, 1).await;
    scene.write(&producer, 1, 11, 10).await;
    read(&mut members, 21).await;
    cluster.node("kill", usize::try_from(leader).expect("small"));
    cluster.node("resume", behind);
    let behind = i32::try_from(behind).expect("small");
    placed(&scene, |partition| partition.leader == Some(behind)).await;
    let ends = members[0].consumer.end_offsets(&[scene.tp(0)]).await.expect("answers");
    let cut = ends[0].1;
    assert!((10..=11).contains(&cut), "{cut}");
    scene.produce(1, 100, 5).await;

    let [mut strict, mut lenient] = members;
    run(&mut [&mut strict], "truncation is noticed", |m| !m[0].errors.is_empty()).await;
    let ConsumerError::Fetch(FetchError::LogTruncated { offset, end_offset, .. }) = &strict.errors[0] else {
        panic!("{:?}", strict.errors);
    };
    assert_eq!((*offset, *end_offset), (21, Some(cut)));
    run(&mut [&mut lenient], "the new records", |m| m[0].seen.len() >= 26).await;
    assert_eq!(lenient.seen[..21], numbers(0..21));
    assert_eq!(lenient.seen[21..], numbers(100..105), "from where the logs agree");
    assert!(lenient.errors.is_empty(), "{:?}", lenient.errors);
    strict.consumer.close().await;
    lenient.consumer.close().await;
}

/// A topic of one partition.
async fn scene(cluster: &Cluster, name: &str, replication_factor: i16, configs: &[(&str, &str)]) -> Scene {
    let scene = Scene {
        broker: None,
        bootstrap: cluster.bootstrap_servers.clone(),
        topic: format!("replicas-{name}"),
    };
    let configs = configs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let topic = NewTopic {
        name: scene.topic.clone(),
        partitions: Some(1),
        replication_factor: Some(replication_factor),
        configs: configs.collect::<BTreeMap<_, _>>(),
    };
    let created = scene.admin().await.create_topics(&[topic]).await.expect("created");
    assert_eq!(created, [(scene.topic.clone(), Ok(()))]);
    scene
}

/// The partition, once it is as wanted.
async fn placed(scene: &Scene, is_wanted: impl Fn(&PartitionDescription) -> bool) -> PartitionDescription {
    let admin = scene.admin().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let described = admin.describe_topics(&[&scene.topic]).await;
        if let Ok([(_, Ok(topic))]) = described.as_deref()
            && let [partition] = &topic.partitions[..]
            && is_wanted(partition)
        {
            return partition.clone();
        }
        assert!(Instant::now() < deadline, "{described:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn follower(placed: &PartitionDescription) -> usize {
    let follower = placed.replicas.iter().find(|node_id| Some(**node_id) != placed.leader);
    usize::try_from(*follower.expect("more than one replica")).expect("small")
}

async fn reader(scene: &Scene, config: ConsumerConfig) -> Member {
    let mut member = scene.reader(config).await;
    member.consumer.assign([scene.tp(0)]);
    let start = (scene.tp(0), StartAt::Earliest);
    member.consumer.start([start]).expect("assigned");
    member
}

async fn read(members: &mut [Member; 2], count: usize) {
    let mut members: Vec<&mut Member> = members.iter_mut().collect();
    let is_done = |m: &[&mut Member]| m.iter().all(|member| member.seen.len() >= count);
    run(&mut members, &format!("{count} records each"), is_done).await;
}
