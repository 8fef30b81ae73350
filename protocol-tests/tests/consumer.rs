//! The consumer and the admin client against a broker: groups, commits, positions, faults.
//!
//! Runs on the embedded broker. With `ENGINE_TEST_BOOTSTRAP=host:port` the tests that inject no fault run on
//! that cluster instead, an Apache Kafka for example.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use engine_broker::{Broker, BrokerConfig, Fault, FaultAction};
use engine_client::{
    Admin, ClientConfig, CommitError, CommittedOffset, Consumer, ConsumerConfig, ConsumerError, Event, FetchError,
    Fetched, ProduceRecord, Producer, ProducerConfig, StartAt, TopicPartition, admin::NewTopic,
};
use engine_wire::{
    compression::{DecodeLimits, Decompressor},
    error_code::ErrorCode,
};

const FETCH: i16 = 1;
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const JOIN_GROUP: i16 = 11;
const HEARTBEAT: i16 = 12;
const SYNC_GROUP: i16 = 14;
const LIST_OFFSETS: i16 = 2;

/// A cluster with one topic of its own.
struct Scene {
    broker: Option<Broker>,
    bootstrap: String,
    topic: String,
}

impl Scene {
    async fn new(partitions: i32) -> Scene {
        match std::env::var("ENGINE_TEST_BOOTSTRAP") {
            Ok(bootstrap) => Scene::on(None, bootstrap, partitions).await,
            Err(_) => Scene::embedded(partitions).await,
        }
    }

    async fn embedded(partitions: i32) -> Scene {
        let config = BrokerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            group_initial_rebalance_delay: Duration::ZERO,
            group_session_timeout_min: Duration::from_millis(100),
            ..BrokerConfig::default()
        };
        let broker = Broker::start(config).await.expect("the embedded broker starts");
        let bootstrap = broker.address().to_string();
        Scene::on(Some(broker), bootstrap, partitions).await
    }

    async fn on(broker: Option<Broker>, bootstrap: String, partitions: i32) -> Scene {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let topic = format!("consumer-test-{}-{count}", std::process::id());
        let scene = Scene {
            broker,
            bootstrap,
            topic,
        };
        let topic = NewTopic {
            name: scene.topic.clone(),
            partitions: Some(partitions),
            replication_factor: Some(1),
            ..NewTopic::default()
        };
        let created = scene.admin().await.create_topics(&[topic]).await.expect("created");
        assert_eq!(created, [(scene.topic.clone(), Ok(()))]);
        scene
    }

    async fn admin(&self) -> Admin {
        Admin::connect(ClientConfig::new(&self.bootstrap))
            .await
            .expect("connects")
    }

    fn config(&self) -> ConsumerConfig {
        let mut config = ConsumerConfig::new(&self.bootstrap);
        config.group_id = Some(self.topic.clone());
        config.heartbeat_interval = Duration::from_millis(200);
        config.session_timeout = Duration::from_secs(6);
        config.auto_offset_reset = engine_client::AutoOffsetReset::Earliest;
        config.client.retry_backoff = Duration::from_millis(20);
        config
    }

    async fn member(&self) -> Member {
        let mut consumer = Consumer::connect(self.config()).await.expect("connects");
        consumer.subscribe([self.topic.as_str()]).expect("has a group");
        Member::new(consumer)
    }

    async fn reader(&self, config: ConsumerConfig) -> Member {
        Member::new(Consumer::connect(config).await.expect("connects"))
    }

    fn tp(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), partition)
    }

    /// `count` numbers as values, from `first`, round-robin over the partitions.
    async fn produce(&self, partitions: i32, first: u32, count: u32) {
        let producer = Producer::connect(ProducerConfig::new(&self.bootstrap))
            .await
            .expect("connects");
        for number in first..first + count {
            let value = number.to_string();
            let record = ProduceRecord {
                topic: &self.topic,
                partition: Some((number % partitions as u32) as i32),
                timestamp: Some(1_700_000_000_000 + i64::from(number)),
                key: None,
                value: Some(value.as_bytes()),
                headers: &[],
            };
            producer.send(record).await.expect("is accepted");
        }
        producer.flush().await.expect("is delivered");
    }

    fn inject(&self, api_key: i16, action: FaultAction) {
        self.broker
            .as_ref()
            .expect("faults need the embedded broker")
            .inject(Fault::once(api_key, action));
    }
}

/// A consumer with what a careful application knows.
struct Member {
    consumer: Consumer,
    owned: BTreeSet<TopicPartition>,
    positions: BTreeMap<TopicPartition, CommittedOffset>,
    seen: Vec<u32>,
    lost: usize,
    errors: Vec<ConsumerError>,
    decompressor: Decompressor,
}

impl Member {
    fn new(consumer: Consumer) -> Member {
        Member {
            consumer,
            owned: BTreeSet::new(),
            positions: BTreeMap::new(),
            seen: Vec::new(),
            lost: 0,
            errors: Vec::new(),
            decompressor: Decompressor::new(DecodeLimits::default()),
        }
    }

    /// Does one event, or nothing if none comes soon.
    async fn step(&mut self) {
        let Ok(event) = tokio::time::timeout(Duration::from_millis(20), self.consumer.poll()).await else {
            return;
        };
        match event {
            Ok(Event::Assigned(partitions)) => {
                self.owned.extend(partitions.iter().cloned());
                let starts = partitions.into_iter().map(|tp| (tp, StartAt::Committed));
                self.consumer.start(starts).expect("just assigned");
            }
            Ok(Event::Revoked(partitions)) => {
                self.commit().await.expect("may still commit");
                self.give_up(&partitions);
                self.consumer.revoked_done();
            }
            Ok(Event::Lost(partitions)) => {
                self.lost += 1;
                self.give_up(&partitions);
            }
            Ok(Event::Fetched(fetched)) => self.take(&fetched),
            Ok(_) => {}
            Err(error) => self.errors.push(error),
        }
    }

    fn give_up(&mut self, partitions: &[TopicPartition]) {
        for tp in partitions {
            self.owned.remove(tp);
            self.positions.remove(tp);
        }
    }

    fn take(&mut self, fetched: &Fetched) {
        for batch in &fetched.batches {
            batch.verify_crc().expect("the crc is right");
            for record in batch.records(&mut self.decompressor).expect("decodes") {
                let record = record.expect("decodes");
                if record.offset >= fetched.first_offset {
                    let value = std::str::from_utf8(record.value.expect("has a value")).expect("is text");
                    self.seen.push(value.parse().expect("is a number"));
                }
            }
        }
        let position = CommittedOffset {
            offset: fetched.next_offset,
            leader_epoch: fetched.leader_epoch,
            metadata: "checkpoint 7".into(),
        };
        self.positions.insert(fetched.tp.clone(), position);
    }

    async fn commit(&self) -> Result<(), CommitError> {
        let positions: Vec<_> = self.positions.iter().map(|(tp, at)| (tp.clone(), at.clone())).collect();
        self.consumer.commit(&positions).await
    }
}

/// Steps the members in turn until `done`.
async fn run(members: &mut [&mut Member], what: &str, done: impl Fn(&[&mut Member]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done(members) {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        for member in members.iter_mut() {
            member.step().await;
        }
    }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<u32> {
    range.collect()
}

fn sorted(mut seen: Vec<u32>) -> Vec<u32> {
    seen.sort_unstable();
    seen
}

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
async fn commits_keep_metadata_and_leader_epoch() {
    let scene = Scene::new(1).await;
    scene.produce(1, 0, 10).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "10 records", |m| m[0].seen.len() >= 10).await;
    member.commit().await.expect("commits");
    let committed = member
        .consumer
        .committed(&[scene.tp(0), scene.tp(9)])
        .await
        .expect("reads");
    assert_eq!(committed[0].1, Some(member.positions[&scene.tp(0)].clone()));
    assert_eq!(
        committed[0].1.as_ref().map(|c| c.metadata.as_str()),
        Some("checkpoint 7")
    );
    assert_eq!(committed[1].1, None);
    member.consumer.close().await;
}

#[tokio::test]
async fn a_partition_that_is_not_ours_cannot_be_committed() {
    let scene = Scene::new(1).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "assigned", |m| m[0].owned.len() == 1).await;
    let foreign = [(scene.tp(7), CommittedOffset::default())];
    let outcome = member.consumer.commit(&foreign).await;
    assert!(matches!(outcome, Err(CommitError::NotAssigned { .. })), "{outcome:?}");
    member.consumer.close().await;
}

#[tokio::test]
async fn offsets_are_found_by_place_and_by_time() {
    let scene = Scene::new(1).await;
    scene.produce(1, 0, 100).await;
    let member = scene.reader(scene.config()).await;
    let tps = [scene.tp(0)];
    assert_eq!(
        member.consumer.beginning_offsets(&tps).await.expect("reads"),
        [(scene.tp(0), 0)]
    );
    assert_eq!(
        member.consumer.end_offsets(&tps).await.expect("reads"),
        [(scene.tp(0), 100)]
    );
    for (time, expected) in [(1_700_000_000_042, Some(42)), (0, Some(0)), (1_900_000_000_000, None)] {
        let found = member
            .consumer
            .offsets_for_times(&[(scene.tp(0), time)])
            .await
            .expect("reads");
        assert_eq!(found[0].1.map(|listed| listed.offset), expected, "{time}");
    }
    member.consumer.close().await;
}

#[tokio::test]
async fn every_way_to_start_starts_there() {
    let scene = Scene::new(1).await;
    scene.produce(1, 0, 100).await;
    for (start, expected) in [
        (StartAt::Earliest, 0),
        (
            StartAt::Offset {
                offset: 60,
                leader_epoch: None,
            },
            60,
        ),
        (
            StartAt::Offset {
                offset: 60,
                leader_epoch: Some(0),
            },
            60,
        ),
        (StartAt::Timestamp(1_700_000_000_042), 42),
        (StartAt::Committed, 0), // Nothing committed: auto.offset.reset.
    ] {
        let mut member = scene.reader(scene.config()).await;
        member.consumer.assign([scene.tp(0)]);
        member.consumer.start([(scene.tp(0), start)]).expect("assigned");
        let wanted = 100 - expected as usize;
        run(&mut [&mut member], "the rest", |m| m[0].seen.len() >= wanted).await;
        assert_eq!(member.seen, numbers(expected..100), "{start:?}");
        assert_eq!(member.consumer.lag(&scene.tp(0)), Some(0));
        member.consumer.close().await;
    }
}

#[tokio::test]
async fn out_of_range_without_a_policy_is_an_error_and_a_restart_goes_on() {
    let scene = Scene::new(1).await;
    scene.produce(1, 0, 10).await;
    let config = ConsumerConfig {
        auto_offset_reset: engine_client::AutoOffsetReset::None,
        ..scene.config()
    };
    let mut member = scene.reader(config).await;
    member.consumer.assign([scene.tp(0)]);
    let beyond = StartAt::Offset {
        offset: 5_000,
        leader_epoch: None,
    };
    member.consumer.start([(scene.tp(0), beyond)]).expect("assigned");
    run(&mut [&mut member], "an error", |m| !m[0].errors.is_empty()).await;
    let error = &member.errors[0];
    assert!(
        matches!(
            error,
            ConsumerError::Fetch(FetchError::OffsetOutOfRange { offset: 5_000, .. })
        ),
        "{error}"
    );
    member
        .consumer
        .start([(scene.tp(0), StartAt::Earliest)])
        .expect("assigned");
    run(&mut [&mut member], "10 records", |m| m[0].seen.len() >= 10).await;
    member.consumer.close().await;
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
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let groups = scene
        .admin()
        .await
        .describe_groups(&[&scene.topic])
        .await
        .expect("describes");
    assert_eq!(groups[0].1.as_ref().expect("exists").members.len(), 0, "it left");
    run(&mut [&mut member], "lost, and back", |m| {
        m[0].lost == 1 && m[0].owned.len() == 1
    })
    .await;
    member.consumer.close().await;
}

#[tokio::test]
async fn pausing_holds_one_partition_back_and_no_other() {
    let scene = Scene::new(2).await;
    let mut member = scene.reader(scene.config()).await;
    let both = [scene.tp(0), scene.tp(1)];
    member.consumer.assign(both.clone());
    member.consumer.pause(&both[..1]);
    member
        .consumer
        .start(both.iter().map(|tp| (tp.clone(), StartAt::Earliest)))
        .expect("assigned");
    scene.produce(2, 0, 100).await;
    run(&mut [&mut member], "the odd half", |m| m[0].seen.len() >= 50).await;
    assert!(
        member.seen.iter().all(|number| number % 2 == 1),
        "partition 0 is paused"
    );
    member.consumer.resume(&both[..1]);
    run(&mut [&mut member], "the even half", |m| m[0].seen.len() >= 100).await;
    assert_eq!(sorted(member.seen.clone()), numbers(0..100));
    member.consumer.close().await;
}

#[tokio::test]
async fn the_admin_sees_and_changes_topics_groups_and_records() {
    let scene = Scene::new(2).await;
    let admin = scene.admin().await;
    scene.produce(2, 0, 100).await;
    let topic = scene.topic.as_str();
    let again = NewTopic {
        name: topic.into(),
        partitions: Some(1),
        replication_factor: Some(1),
        ..NewTopic::default()
    };
    let refused = admin
        .create_topics(&[again])
        .await
        .expect("answers")
        .remove(0)
        .1
        .expect_err("exists");
    assert_eq!(refused.code, ErrorCode::TOPIC_ALREADY_EXISTS);
    let described = admin.describe_topics(&[topic, "no-such-topic"]).await.expect("answers");
    let of = |name: &str| {
        described
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, result)| result)
            .expect("is answered")
    };
    assert_eq!(of(topic).as_ref().expect("exists").partitions.len(), 2);
    assert_eq!(
        of("no-such-topic").as_ref().expect_err("missing").code,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert!(
        admin
            .list_topics()
            .await
            .expect("answers")
            .iter()
            .any(|t| t.name == topic)
    );
    let configs = admin
        .describe_configs(&[topic])
        .await
        .expect("answers")
        .remove(0)
        .1
        .expect("exists");
    assert!(configs.iter().any(|entry| entry.name == "cleanup.policy"));
    let cluster = admin.describe_cluster().await.expect("answers");
    assert!(!cluster.brokers.is_empty() && cluster.controller.is_some());

    let group = format!("{topic}-admin");
    let committed = [(
        scene.tp(1),
        CommittedOffset {
            offset: 5,
            leader_epoch: None,
            metadata: "m".into(),
        },
    )];
    let altered = admin.alter_group_offsets(&group, &committed).await.expect("answers");
    assert_eq!(altered, [(scene.tp(1), Ok(()))]);
    assert_eq!(admin.group_offsets(&group).await.expect("answers"), committed);
    assert!(
        admin
            .list_groups()
            .await
            .expect("answers")
            .iter()
            .any(|listing| listing.group == group)
    );
    let deleted = admin.delete_groups(&[&group]).await.expect("answers");
    assert_eq!(deleted, [(group.clone(), Ok(()))]);

    let low = admin.delete_records(&[(scene.tp(0), 20)]).await.expect("answers");
    assert_eq!(low, [(scene.tp(0), Ok(20))]);
    let begins = admin.list_offsets(&[(scene.tp(0), -2)]).await.expect("answers");
    assert_eq!(begins[0].1.map(|listed| listed.offset), Some(20));
    let deleted = admin.delete_topics(&[topic]).await.expect("answers");
    assert_eq!(deleted, [(topic.to_owned(), Ok(()))]);
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
async fn fetch_faults_neither_lose_nor_repeat_records() {
    let scene = Scene::embedded(2).await;
    let mut member = scene.reader(scene.config()).await;
    member.consumer.assign([scene.tp(0), scene.tp(1)]);
    member
        .consumer
        .start([(scene.tp(0), StartAt::Earliest), (scene.tp(1), StartAt::Earliest)])
        .expect("assigned");
    let mut sent = 0;
    for action in [
        FaultAction::Disconnect,
        FaultAction::ApplyThenDisconnect,
        FaultAction::Delay(Duration::from_millis(100)),
        FaultAction::Error(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        FaultAction::Error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        FaultAction::Error(ErrorCode::UNKNOWN_LEADER_EPOCH),
        FaultAction::Error(ErrorCode::OFFSET_NOT_AVAILABLE),
    ] {
        scene.inject(FETCH, action);
        scene.produce(2, sent, 50).await;
        sent += 50;
        run(&mut [&mut member], &format!("{action:?}"), |m| {
            m[0].seen.len() >= sent as usize
        })
        .await;
    }
    assert_eq!(sorted(member.seen.clone()), numbers(0..sent));
    assert!(member.errors.is_empty(), "{:?}", member.errors);
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

#[tokio::test]
async fn a_lost_membership_is_told_and_the_stale_owner_cannot_commit() {
    let scene = Scene::embedded(1).await;
    scene.produce(1, 0, 10).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "10 records", |m| m[0].seen.len() >= 10).await;
    scene.inject(HEARTBEAT, FaultAction::Error(ErrorCode::UNKNOWN_MEMBER_ID));
    let deadline = Instant::now() + Duration::from_secs(10);
    // The application works on and has not heard yet.
    while member.consumer.stats().membership.losses == 0 {
        assert!(Instant::now() < deadline, "the heartbeat is refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await; // Long enough to have rejoined.
    let outcome = member.commit().await;
    assert!(
        matches!(outcome, Err(CommitError::MembershipLost { .. })),
        "{outcome:?}"
    );
    run(&mut [&mut member], "lost, and back", |m| {
        m[0].lost == 1 && m[0].owned.len() == 1
    })
    .await;
    run(&mut [&mut member], "all again, nothing was committed", |m| {
        m[0].seen.len() >= 20
    })
    .await;
    member.commit().await.expect("commits under the new generation");
    member.consumer.close().await;
}

#[tokio::test]
async fn a_commit_refused_for_the_generation_rejoins_at_once() {
    for code in [ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID] {
        let scene = Scene::embedded(1).await;
        scene.produce(1, 0, 10).await;
        let mut member = scene.member().await;
        run(&mut [&mut member], "10 records", |m| m[0].seen.len() >= 10).await;
        scene.inject(OFFSET_COMMIT, FaultAction::Error(code));
        let outcome = member.commit().await;
        assert!(
            matches!(outcome, Err(CommitError::MembershipLost { code: told }) if told == code),
            "{outcome:?}"
        );
        run(&mut [&mut member], "lost, and back", |m| {
            m[0].lost == 1 && m[0].owned.len() == 1
        })
        .await;
        member.consumer.close().await;
    }
}

#[tokio::test]
async fn a_commit_is_repeated_while_the_coordinator_loads_or_breaks() {
    let scene = Scene::embedded(1).await;
    scene.produce(1, 0, 10).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "10 records", |m| m[0].seen.len() >= 10).await;
    for action in [
        FaultAction::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        FaultAction::Error(ErrorCode::NOT_COORDINATOR),
        FaultAction::Disconnect,
        FaultAction::ApplyThenDisconnect,
    ] {
        scene.inject(OFFSET_COMMIT, action);
        member
            .commit()
            .await
            .unwrap_or_else(|error| panic!("{action:?}: {error}"));
    }
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
