//! Partitions that are added under running consumers.

use std::time::{Duration, Instant};

use engine_broker::FaultAction;
use engine_client::{Consumer, ConsumerConfig, StartAt, admin::NewTopic};

use crate::cluster::Cluster;
use crate::scene::{Member, PATIENCE, SYNC_GROUP, Scene, numbers, run, sorted};

/// Metadata is young enough to show what changed within half a second.
fn config(scene: &Scene) -> ConsumerConfig {
    let mut config = scene.config();
    config.client.metadata_age_max = Duration::from_millis(500);
    config
}

async fn member(scene: &Scene) -> Member {
    let mut consumer = Consumer::connect(config(scene)).await.expect("connects");
    consumer.subscribe([scene.topic.as_str()]).expect("has a group");
    Member::new(consumer)
}

async fn grow(scene: &Scene, partitions: i32) {
    let grown = scene
        .admin()
        .await
        .create_partitions(&[(&scene.topic, partitions)])
        .await;
    assert_eq!(grown.expect("answers"), [(scene.topic.clone(), Ok(()))]);
}

async fn a_group_takes_new_partitions_up(scene: &Scene) {
    let mut members = [member(scene).await, member(scene).await];
    let mut all: Vec<&mut Member> = members.iter_mut().collect();
    run(&mut all, "one each", |m| m.iter().all(|m| m.owned.len() == 1)).await;
    scene.produce(2, 0, 100).await;
    grow(scene, 6).await;
    // The producer may know of them before the group does: nothing is passed over.
    scene.produce(6, 100, 300).await;
    run(&mut all, "all of six", |m| {
        m.iter().all(|m| m.owned.len() == 3) && m.iter().map(|m| m.seen.len()).sum::<usize>() >= 400
    })
    .await;
    let seen = members.iter().flat_map(|member| member.seen.iter().copied());
    assert_eq!(sorted(seen.collect()), numbers(0..400), "each once");
    for member in members {
        assert_eq!((member.lost, member.errors.len()), (0, 0));
        member.consumer.close().await;
    }
}

async fn a_reader_without_a_group_sees_the_count_grow(scene: &Scene) {
    let mut reader = scene.reader(config(scene)).await;
    reader.consumer.assign([scene.tp(0)]);
    reader
        .consumer
        .start([(scene.tp(0), StartAt::Earliest)])
        .expect("assigned");
    let before = reader.consumer.partition_count(&scene.topic).await.expect("is told");
    let before = before.expect("exists");
    grow(scene, before + 1).await;
    let deadline = Instant::now() + PATIENCE;
    while reader.consumer.partition_count(&scene.topic).await.expect("is told") != Some(before + 1) {
        assert!(Instant::now() < deadline, "the count does not grow");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // One that is assigned before it exists is read as soon as it does.
    let early = scene.tp(before + 1);
    reader.consumer.assign([early.clone()]);
    reader
        .consumer
        .start([(early.clone(), StartAt::Earliest)])
        .expect("assigned");
    tokio::time::sleep(Duration::from_millis(300)).await;
    grow(scene, before + 2).await;
    scene
        .produce(before + 2, 1_000, u32::try_from(before).expect("small") + 2)
        .await;
    run(&mut [&mut reader], "a position in the new one", |m| {
        m[0].positions.get(&early).is_some_and(|position| position.offset == 1)
    })
    .await;
    assert!(reader.errors.is_empty(), "{:?}", reader.errors);
    reader.consumer.close().await;
}

#[tokio::test]
async fn partitions_that_are_added_are_read() {
    let scene = Scene::new(2).await;
    a_group_takes_new_partitions_up(&scene).await;
    a_reader_without_a_group_sees_the_count_grow(&scene).await;
}

/// The metadata that has the topic comes while the assignment without it is under way, and no more comes for minutes.
#[tokio::test]
async fn a_topic_that_appears_in_the_middle_of_a_rebalance_is_dealt_out() {
    let scene = Scene::embedded(1).await;
    let later = format!("{}-later", scene.topic);
    let mut config = scene.config();
    config.client.allow_auto_create_topics = false;
    scene.inject(SYNC_GROUP, FaultAction::Delay(Duration::from_millis(1_500)));
    let mut consumer = Consumer::connect(config).await.expect("connects");
    consumer.subscribe([later.as_str()]).expect("has a group");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let topic = NewTopic {
        name: later,
        partitions: Some(2),
        ..NewTopic::default()
    };
    let created = scene.admin().await.create_topics(&[topic]).await.expect("answers");
    assert!(created[0].1.is_ok(), "{created:?}");
    let mut member = Member::new(consumer);
    run(&mut [&mut member], "both partitions", |m| m[0].owned.len() == 2).await;
    member.consumer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_to_2_8_2_and_4_4_0_are_read() {
    for version in ["2.8.2", "4.4.0"] {
        let Some(cluster) = Cluster::start_for_long("growing", version, 1, &[]) else {
            return;
        };
        let scene = Scene::on(None, cluster.bootstrap_servers.clone(), 2).await;
        a_group_takes_new_partitions_up(&scene).await;
        a_reader_without_a_group_sees_the_count_grow(&scene).await;
    }
}
