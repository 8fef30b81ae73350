//! Groups that keep what they have: sticky, cooperative, and together with members that know neither.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use engine_client::{AssignmentStrategy, CommitError, Consumer, Event, TopicPartition};

use crate::cluster::Cluster;
use crate::scene::{Member, Scene, numbers, run, sorted};

async fn member(scene: &Scene, strategies: &[AssignmentStrategy]) -> Member {
    let mut config = scene.config();
    config.partition_assignment_strategy = strategies.to_vec();
    let mut consumer = Consumer::connect(config).await.expect("connects");
    consumer.subscribe([scene.topic.as_str()]).expect("has a group");
    Member::new(consumer)
}

/// Runs until the members own this many partitions each, in any order.
async fn settle(members: &mut [Member], sizes: &[usize]) {
    let mut all: Vec<&mut Member> = members.iter_mut().collect();
    run(&mut all, &format!("{sizes:?} partitions"), |m| {
        let mut owned: Vec<usize> = m.iter().map(|m| m.owned.len()).collect();
        owned.sort_unstable();
        owned == sizes
    })
    .await;
}

fn owned(members: &[Member]) -> Vec<BTreeSet<TopicPartition>> {
    members.iter().map(|member| member.owned.clone()).collect()
}

async fn those_who_stay_keep_theirs(scene: &Scene, strategy: AssignmentStrategy) {
    let mut members = vec![member(scene, &[strategy]).await];
    settle(&mut members, &[6]).await;
    members.push(member(scene, &[strategy]).await);
    settle(&mut members, &[3, 3]).await;
    let before = owned(&members);
    members.push(member(scene, &[strategy]).await);
    settle(&mut members, &[2, 2, 2]).await;
    let three = owned(&members);
    assert!(
        three[0].is_subset(&before[0]) && three[1].is_subset(&before[1]),
        "{before:?}, then {three:?}"
    );
    scene.produce(6, 0, 600).await;
    let mut all: Vec<&mut Member> = members.iter_mut().collect();
    let seen = |m: &[&mut Member]| m.iter().map(|m| m.seen.len()).sum::<usize>();
    run(&mut all, "600 records", |m| seen(m) >= 600).await;
    let first = members.remove(0);
    first.commit().await.expect("is a member");
    let mut records = first.seen.clone();
    first.consumer.close().await;
    settle(&mut members, &[3, 3]).await;
    let two = owned(&members);
    assert!(
        two[0].is_superset(&three[1]) && two[1].is_superset(&three[2]),
        "{three:?}, then {two:?}"
    );
    for member in members {
        assert_eq!((member.lost, member.errors.len()), (0, 0));
        records.extend(&member.seen);
        member.consumer.close().await;
    }
    assert_eq!(sorted(records), numbers(0..600), "each once");
}

async fn the_strategy_that_all_know_is_used(scene: &Scene) {
    let lists = [
        &[AssignmentStrategy::Sticky, AssignmentStrategy::Range][..],
        &[AssignmentStrategy::CooperativeSticky, AssignmentStrategy::Range],
        &[AssignmentStrategy::Range],
    ];
    let mut members = Vec::new();
    for strategies in lists {
        members.push(member(scene, strategies).await);
    }
    settle(&mut members, &[2, 2, 2]).await;
    let groups = scene
        .admin()
        .await
        .describe_groups(&[&scene.topic])
        .await
        .expect("answers");
    assert_eq!(groups[0].1.as_ref().expect("exists").protocol, "range");
    for member in members {
        member.consumer.close().await;
    }
}

/// A cooperative member reads on while others come: it is asked for what moves, and for nothing else.
async fn nobody_stops_reading_what_it_keeps(scene: &Scene) {
    let strategy = [AssignmentStrategy::CooperativeSticky];
    let mut first = member(scene, &strategy).await;
    run(&mut [&mut first], "all six", |m| m[0].owned.len() == 6).await;
    let mut second = member(scene, &strategy).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut revoked = Vec::new();
    let mut sent = 0;
    while first.owned.len() + second.owned.len() < 6 || second.owned.len() < 3 {
        assert!(Instant::now() < deadline, "{:?} and {:?}", first.owned, second.owned);
        scene.produce(6, sent, 6).await;
        sent += 6;
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(20), first.consumer.poll()).await {
            if let Ok(Event::Revoked(partitions)) = &event {
                revoked.extend(partitions.clone());
            }
            first.handle(event).await;
            match first.commit().await {
                Ok(()) | Err(CommitError::RebalanceInProgress) => {}
                Err(error) => panic!("{error}"),
            }
        }
        second.step().await;
    }
    assert_eq!((revoked.len(), first.owned.len(), first.lost), (3, 3, 0), "{revoked:?}");
    assert!(first.owned.iter().all(|tp| !revoked.contains(tp)));
    let all = sent as usize;
    let seen = |m: &[&mut Member]| m.iter().map(|m| m.seen.len()).sum::<usize>();
    run(&mut [&mut first, &mut second], "the rest", |m| seen(m) >= all).await;
    let both = first.seen.iter().chain(&second.seen).copied().collect();
    assert_eq!(sorted(both), numbers(0..sent), "each once");
    first.consumer.close().await;
    second.consumer.close().await;
}

#[tokio::test]
async fn sticky_members_keep_theirs_when_others_come_and_go() {
    those_who_stay_keep_theirs(&Scene::new(6).await, AssignmentStrategy::Sticky).await;
}

#[tokio::test]
async fn cooperative_members_keep_theirs_when_others_come_and_go() {
    those_who_stay_keep_theirs(&Scene::new(6).await, AssignmentStrategy::CooperativeSticky).await;
}

#[tokio::test]
async fn a_group_with_a_member_that_only_knows_range_uses_range() {
    the_strategy_that_all_know_is_used(&Scene::new(6).await).await;
}

#[tokio::test]
async fn a_cooperative_member_reads_on_while_the_group_rebalances() {
    nobody_stops_reading_what_it_keeps(&Scene::new(6).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sticky_groups_live_with_4_4_0() {
    let Some(cluster) = Cluster::start_for_long("sticky", "4.4.0", 1, &[]) else {
        return;
    };
    let scene = async || Scene::on(None, cluster.bootstrap_servers.clone(), 6).await;
    those_who_stay_keep_theirs(&scene().await, AssignmentStrategy::Sticky).await;
    those_who_stay_keep_theirs(&scene().await, AssignmentStrategy::CooperativeSticky).await;
    the_strategy_that_all_know_is_used(&scene().await).await;
    nobody_stops_reading_what_it_keeps(&scene().await).await;
    for (strategy, class) in [
        (AssignmentStrategy::Sticky, "StickyAssignor"),
        (AssignmentStrategy::CooperativeSticky, "CooperativeStickyAssignor"),
    ] {
        with_a_java_member(&cluster, &scene().await, strategy, class).await;
    }
}

/// The Java member comes first and leads: it reads what ours say they have. When it has gone, ours leads.
async fn with_a_java_member(cluster: &Cluster, scene: &Scene, strategy: AssignmentStrategy, class: &str) {
    let class = format!("partition.assignment.strategy=org.apache.kafka.clients.consumer.{class}");
    let arguments = [
        "--topic",
        &scene.topic,
        "--group",
        &scene.topic,
        "--command-property",
        &class,
    ];
    // It leaves when no record came for so long.
    let arguments = [&arguments[..], &["--timeout-ms", "10000"]].concat();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // It ends with an error, because it got no record; what it did is seen from the group.
            cluster.try_tool("ConsoleConsumer", &arguments)
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                await_members(scene, 1).await;
                let mut members = vec![member(scene, &[strategy]).await];
                settle(&mut members, &[3]).await;
                let three = owned(&members);
                members.push(member(scene, &[strategy]).await);
                settle(&mut members, &[2, 2]).await;
                let two = owned(&members);
                assert!(two[0].is_subset(&three[0]), "{three:?}, then {two:?}");
                settle(&mut members, &[3, 3]).await;
                let alone = owned(&members);
                let kept = alone[0].is_superset(&two[0]) && alone[1].is_superset(&two[1]);
                assert!(kept, "{two:?}, then {alone:?}");
                for member in members {
                    assert_eq!((member.lost, member.errors.len()), (0, 0));
                    member.consumer.close().await;
                }
            });
        });
    });
}

async fn await_members(scene: &Scene, count: usize) {
    let admin = scene.admin().await;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let groups = admin.describe_groups(&[&scene.topic]).await.expect("answers");
        match &groups[0].1 {
            Ok(group) if group.members.len() == count && group.state == "Stable" => return,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
