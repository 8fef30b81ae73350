//! Members of a group: sharing, taking over, leaving, and faults on the way.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use engine_broker::FaultAction;
use engine_client::{Consumer, admin::NewTopic};
use engine_wire::error_code::ErrorCode;

use crate::scene::{
    HEARTBEAT, JOIN_GROUP, LIST_OFFSETS, Member, OFFSET_FETCH, PATIENCE, SYNC_GROUP, Scene, numbers, run, sorted,
};

#[tokio::test]
async fn a_lone_member_reads_everything_once_and_comes_back_where_it_committed() {
    let scene = Scene::new(3).await;
    scene.produce(3, 0, 300).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "300 records", |m| m[0].seen.len() >= 300).await;
    assert_eq!(sorted(member.seen.clone()), numbers(0..300));
    member.commit().await.expect("commits");
    member.consumer.close().await;

    scene.produce(3, 300, 30).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "30 more", |m| m[0].seen.len() >= 30).await;
    assert_eq!(sorted(member.seen.clone()), numbers(300..330));
    member.consumer.close().await;
}

#[tokio::test]
async fn a_start_waits_for_none_of_the_pauses_between_attempts() {
    const PAUSE: Duration = Duration::from_secs(40);
    let scene = Scene::embedded(3).await;
    scene.produce(3, 0, 30).await;
    let mut config = scene.config();
    config.client.retry_backoff = PAUSE;
    config.client.retry_backoff_max = PAUSE;
    let started = Instant::now();
    let mut consumer = Consumer::connect(config).await.expect("connects");
    consumer.subscribe([scene.topic.as_str()]).expect("has a group");
    let mut member = Member::new(consumer);
    run(&mut [&mut member], "30 records", |m| m[0].seen.len() >= 30).await;
    let took = started.elapsed();
    assert!(took < PAUSE, "nothing failed, nothing to wait for: {took:?}");
    member.consumer.close().await;
}

/// The metadata that says so may be five minutes old before it is refreshed by itself.
#[tokio::test]
async fn a_topic_that_is_created_after_its_member_joined_is_read_at_once() {
    let scene = Scene::new(1).await;
    let topic = format!("{}-later", scene.topic);
    let mut config = scene.config();
    config.client.allow_auto_create_topics = false;
    let mut consumer = Consumer::connect(config).await.expect("connects");
    consumer.subscribe([topic.as_str()]).expect("has a group");
    let mut member = Member::new(consumer);
    run(&mut [&mut member], "an empty assignment", |m| {
        m[0].consumer.stats().membership.rebalances == 1
    })
    .await;
    let scene = Scene { topic, ..scene };
    let new = NewTopic {
        name: scene.topic.clone(),
        partitions: Some(2),
        replication_factor: Some(1),
        ..NewTopic::default()
    };
    scene.admin().await.create_topics(&[new]).await.expect("answers");
    scene.produce(2, 0, 20).await;
    run(&mut [&mut member], "20 records", |m| m[0].seen.len() >= 20).await;
    assert_eq!(sorted(member.seen.clone()), numbers(0..20));
    member.consumer.close().await;
}

#[tokio::test]
async fn two_members_share_and_one_takes_over_when_the_other_leaves() {
    let scene = Scene::new(4).await;
    scene.produce(4, 0, 400).await;
    let mut first = scene.member().await;
    run(&mut [&mut first], "the first owns all", |m| m[0].owned.len() == 4).await;
    let mut second = scene.member().await;
    let shared = |m: &[&mut Member]| m.iter().all(|m| m.owned.len() == 2);
    run(&mut [&mut first, &mut second], "two each", shared).await;
    assert!(first.owned.is_disjoint(&second.owned));
    scene.produce(4, 400, 100).await;
    let all = |m: &[&mut Member]| m.iter().map(|m| m.seen.len()).sum::<usize>() >= 500;
    run(&mut [&mut first, &mut second], "all 500", all).await;
    second.commit().await.expect("commits");
    let mut seen = second.seen.clone();
    second.consumer.close().await;
    run(&mut [&mut first], "the first owns all again", |m| m[0].owned.len() == 4).await;
    scene.produce(4, 500, 40).await;
    let rest = 540 - seen.len();
    run(&mut [&mut first], "the last 40", |m| m[0].seen.len() >= rest).await;
    seen.extend(&first.seen);
    assert_eq!(
        sorted(seen),
        numbers(0..540),
        "each exactly once: every revocation was committed"
    );
    assert_eq!((first.lost, first.errors.len()), (0, 0));
    first.consumer.close().await;
}

#[tokio::test]
async fn a_member_that_does_not_poll_loses_its_partitions_and_comes_back() {
    let scene = Scene::new(1).await;
    let mut config = scene.config();
    config.poll_interval_max = Duration::from_millis(600);
    config.session_timeout = Duration::from_secs(6);
    config.rebalance_timeout = Some(Duration::from_secs(6));
    let mut consumer = Consumer::connect(config).await.expect("connects");
    consumer.subscribe([scene.topic.as_str()]).expect("has a group");
    let mut member = Member::new(consumer);
    run(&mut [&mut member], "assigned", |m| m[0].owned.len() == 1).await;
    let admin = scene.admin().await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let groups = admin.describe_groups(&[&scene.topic]).await.expect("describes");
        let members = groups[0].1.as_ref().expect("exists").members.len();
        if members == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "it does not leave");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    run(&mut [&mut member], "lost, and back", |m| {
        m[0].lost == 1 && m[0].owned.len() == 1
    })
    .await;
    member.consumer.close().await;
}

#[tokio::test]
async fn a_member_is_described_with_its_topics_and_partitions() {
    let scene = Scene::new(2).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "assigned", |m| m[0].owned.len() == 2).await;
    let groups = scene
        .admin()
        .await
        .describe_groups(&[&scene.topic])
        .await
        .expect("answers");
    let group = groups[0].1.as_ref().expect("exists");
    assert_eq!((group.state.as_str(), group.protocol.as_str()), ("Stable", "range"));
    assert_eq!(group.members[0].topics, [scene.topic.as_str()]);
    assert_eq!(group.members[0].assignment, [scene.tp(0), scene.tp(1)]);
    member.consumer.close().await;
}

#[tokio::test]
async fn group_faults_on_the_way_in_are_survived() {
    let unavailable = FaultAction::Error(ErrorCode::NOT_COORDINATOR);
    let loading = FaultAction::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    for (api_key, action) in [
        (JOIN_GROUP, FaultAction::Disconnect),
        (JOIN_GROUP, unavailable),
        (JOIN_GROUP, loading),
        (JOIN_GROUP, FaultAction::Error(ErrorCode::UNKNOWN_MEMBER_ID)),
        (SYNC_GROUP, FaultAction::Disconnect),
        (SYNC_GROUP, FaultAction::ApplyThenDisconnect),
        (SYNC_GROUP, FaultAction::Error(ErrorCode::REBALANCE_IN_PROGRESS)),
        (SYNC_GROUP, FaultAction::Error(ErrorCode::ILLEGAL_GENERATION)),
        (OFFSET_FETCH, loading),
        (OFFSET_FETCH, FaultAction::Disconnect),
        (LIST_OFFSETS, FaultAction::Error(ErrorCode::LEADER_NOT_AVAILABLE)),
    ] {
        let scene = Scene::embedded(1).await;
        scene.produce(1, 0, 10).await;
        scene.inject(api_key, action);
        let mut member = scene.member().await;
        run(&mut [&mut member], &format!("{api_key} {action:?}"), |m| {
            m[0].seen.len() >= 10
        })
        .await;
        assert_eq!(
            (member.seen.clone(), member.lost),
            (numbers(0..10), 0),
            "{api_key} {action:?}"
        );
        member.consumer.close().await;
    }
}

#[tokio::test]
async fn a_coordinator_that_breaks_for_a_moment_costs_nothing() {
    let scene = Scene::embedded(1).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "assigned", |m| m[0].owned.len() == 1).await;
    for action in [FaultAction::Disconnect, FaultAction::Error(ErrorCode::NOT_COORDINATOR)] {
        scene.inject(HEARTBEAT, action);
        let before = member.consumer.stats().membership.heartbeats;
        let enough = |m: &[&mut Member]| m[0].consumer.stats().membership.heartbeats > before + 2;
        run(&mut [&mut member], "heartbeats", enough).await;
    }
    assert_eq!((member.lost, member.consumer.stats().membership.rebalances), (0, 1));
    member.consumer.close().await;
}

/// Members come, go, crash (are dropped) and lose heartbeats, while records come in. Nothing is
/// lost, and what was committed under a revocation is not read twice by a well-behaved group.
#[tokio::test]
async fn a_restless_group_reads_every_record() {
    let scene = Scene::embedded(4).await;
    let mut seen: HashSet<u32> = HashSet::new();
    let mut sent = 0;
    let mut members = vec![scene.member().await, scene.member().await];
    for round in 0..6 {
        scene.produce(4, sent, 100).await;
        sent += 100;
        match round % 3 {
            0 => members.push(scene.member().await),
            1 => scene.inject(HEARTBEAT, FaultAction::Error(ErrorCode::UNKNOWN_MEMBER_ID)),
            _ => {
                let gone = members.remove(0);
                seen.extend(&gone.seen);
                // Whatever it read and did not commit is read again by others.
                drop(gone.consumer);
            }
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let mut now: HashSet<u32> = seen.clone();
            now.extend(members.iter().flat_map(|member| member.seen.iter()));
            if now.len() >= sent as usize {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "round {round}: {} of {sent} records",
                now.len()
            );
            for member in &mut members {
                member.step().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_busy_for_longer_than_its_session_stays() {
    let scene = Scene::embedded(1).await;
    scene.produce(1, 0, 10).await;
    let mut config = scene.config();
    // So long that a machine that is busy with something else does not end it.
    config.session_timeout = Duration::from_secs(2);
    config.heartbeat_interval = Duration::from_millis(100);
    let mut consumer = Consumer::connect(config).await.expect("connects");
    consumer.subscribe([scene.topic.as_str()]).expect("has a group");
    let mut member = Member::new(consumer);
    run(&mut [&mut member], "10 records", |m| m[0].seen.len() >= 10).await;
    // Longer than two sessions, once waiting, once with a thread blocked.
    tokio::time::sleep(Duration::from_secs(5)).await;
    std::thread::sleep(Duration::from_secs(5));
    member.commit().await.expect("is still a member");
    scene.produce(1, 10, 10).await;
    run(&mut [&mut member], "10 more", |m| m[0].seen.len() >= 20).await;
    assert_eq!((member.lost, member.errors.len()), (0, 0));
    assert_eq!(member.consumer.stats().membership.rebalances, 1);
    member.consumer.close().await;
}

#[tokio::test]
async fn members_that_join_while_records_are_fetched_lose_and_repeat_nothing() {
    let scene = Scene::embedded(4).await;
    let mut members = vec![scene.member().await];
    let mut sent = 0;
    for _ in 0..4 {
        scene.produce(4, sent, 400).await;
        sent += 400;
        // The newcomer's rebalance meets fetches in flight and batches that are prefetched and not polled.
        members.push(scene.member().await);
        let mut all: Vec<&mut Member> = members.iter_mut().collect();
        let seen = |m: &[&mut Member]| m.iter().map(|m| m.seen.len()).sum::<usize>() >= sent as usize;
        let shared = |m: &[&mut Member]| m.iter().filter(|m| !m.owned.is_empty()).count() == m.len().min(4);
        run(&mut all, "everything, shared by all", |m| seen(m) && shared(m)).await;
    }
    let seen = members.iter().flat_map(|member| member.seen.iter().copied());
    assert_eq!(
        sorted(seen.collect()),
        numbers(0..sent),
        "each once: every revocation was committed"
    );
    for member in members {
        assert_eq!((member.lost, member.errors.len()), (0, 0));
        member.consumer.close().await;
    }
}
