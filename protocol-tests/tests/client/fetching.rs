//! Positions: where reading starts, how it goes on, and faults on the way.

use std::time::Duration;

use engine_broker::FaultAction;
use engine_client::{Consumer, ConsumerConfig, ConsumerError, Event, FetchError, StartAt};
use engine_wire::error_code::ErrorCode;

use crate::scene::{FETCH, PATIENCE, Scene, numbers, run, sorted};

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
async fn a_reset_by_duration_starts_with_the_first_record_that_is_young_enough() {
    let scene = Scene::new(1).await;
    scene.produce(1, 0, 100).await; // They are of 2023.
    let years = Duration::from_secs(20 * 365 * 24 * 3_600);
    let config = ConsumerConfig {
        auto_offset_reset: engine_client::AutoOffsetReset::ByDuration(years),
        ..scene.config()
    };
    let mut member = scene.reader(config).await;
    member.consumer.assign([scene.tp(0)]);
    member
        .consumer
        .start([(scene.tp(0), StartAt::Committed)])
        .expect("assigned");
    run(&mut [&mut member], "all of them", |m| m[0].seen.len() >= 100).await;
    assert_eq!(member.seen, numbers(0..100));
    member.consumer.close().await;
    // An hour ago there was nothing: it begins behind the newest record.
    let config = ConsumerConfig {
        auto_offset_reset: engine_client::AutoOffsetReset::ByDuration(Duration::from_secs(3_600)),
        ..scene.config()
    };
    let mut member = scene.reader(config).await;
    member.consumer.assign([scene.tp(0)]);
    member
        .consumer
        .start([(scene.tp(0), StartAt::Committed)])
        .expect("assigned");
    run(&mut [&mut member], "a position", |m| {
        m[0].consumer.position(&scene.tp(0)).is_some()
    })
    .await;
    let position = member.consumer.position(&scene.tp(0)).expect("just seen");
    assert_eq!(position.offset, 100);
    member.consumer.close().await;
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
async fn a_reader_that_stalls_is_not_prefetched_for_beyond_its_bound() {
    const PREFETCH: usize = 256 << 10;
    let scene = Scene::embedded(4).await;
    scene.produce_bytes(4, 400, 10_000).await; // 4 MB, sixteen times the bound.
    let config = ConsumerConfig {
        prefetch_bytes_max: PREFETCH,
        partition_fetch_bytes_max: 32 << 10,
        ..scene.config()
    };
    let mut consumer = Consumer::connect(config).await.expect("connects");
    let partitions: Vec<_> = (0..4).map(|partition| scene.tp(partition)).collect();
    consumer.assign(partitions.clone());
    let starts = partitions.iter().map(|tp| (tp.clone(), StartAt::Earliest));
    consumer.start(starts).expect("assigned");
    // An answer may exceed what was asked for by one batch of each partition.
    let bound = PREFETCH + 4 * (128 << 10);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let stats = consumer.stats();
        assert!(stats.prefetched_bytes <= bound, "{stats:?}");
        assert!(
            stats.fetch.bytes <= bound as u64,
            "nothing is fetched to be dropped: {stats:?}"
        );
    }
    assert!(consumer.stats().prefetched_bytes > 0, "something was prefetched");
    let mut records = 0;
    while records < 400 {
        let event = tokio::time::timeout(PATIENCE, consumer.poll()).await;
        if let Event::Fetched(fetched) = event.expect("in time").expect("no error") {
            records += fetched
                .batches
                .iter()
                .map(|batch| batch.header.record_count)
                .sum::<i32>();
        }
        assert!(consumer.stats().prefetched_bytes <= bound);
    }
    assert_eq!(records, 400, "each once");
    consumer.close().await;
}

#[tokio::test]
async fn polls_that_are_given_up_at_any_moment_lose_and_repeat_nothing() {
    let scene = Scene::embedded(2).await;
    let mut member = scene.reader(scene.config()).await;
    member.consumer.assign([scene.tp(0), scene.tp(1)]);
    let starts = [(scene.tp(0), StartAt::Earliest), (scene.tp(1), StartAt::Earliest)];
    member.consumer.start(starts).expect("assigned");
    for round in 0..20 {
        scene.produce(2, 50 * round, 50).await;
        for microseconds in [0, 1, 10, 100, 1_000] {
            let poll = member.consumer.poll();
            if let Ok(event) = tokio::time::timeout(Duration::from_micros(microseconds), poll).await {
                member.handle(event).await;
            }
        }
    }
    run(&mut [&mut member], "all of it", |m| m[0].seen.len() >= 1_000).await;
    assert_eq!(sorted(member.seen.clone()), numbers(0..1_000));
    member.consumer.close().await;
}
