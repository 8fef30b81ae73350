//! A position that is not in the log: what happens is the policy's choice, and never silent by default.

use std::time::Duration;

use engine_client::{AutoOffsetReset, Consumer, FetchError, StartAt};

use crate::behaviour::{Shown, behaviours};
use crate::reading::{numbers, read_count, read_error};
use crate::scene::{Scene, now_ms, tp};

behaviours! { "Out of range":
    beyond_the_end_without_a_policy_is_an_error_and_the_consumer_goes_on_when_told_where,
    below_the_start_without_a_policy_is_an_error,
    out_of_range_with_earliest_starts_at_the_oldest_record,
    out_of_range_with_latest_starts_at_the_end,
    out_of_range_by_duration_starts_with_the_youngest_records,
}

async fn start_at(scene: &Scene, topic: &str, policy: AutoOffsetReset, offset: i64) -> Consumer {
    let mut consumer = scene.consumer(|config| config.auto_offset_reset = policy).await;
    consumer.assign([tp(topic, 0)]);
    let start = StartAt::Offset {
        offset,
        leader_epoch: None,
    };
    consumer.start([(tp(topic, 0), start)]).expect("just assigned");
    consumer
}

async fn beyond_the_end_without_a_policy_is_an_error_and_the_consumer_goes_on_when_told_where(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..5).await;
    let mut consumer = start_at(&scene, &topic, AutoOffsetReset::None, 1_000).await;
    let error = read_error(&mut consumer).await;
    assert_eq!(
        error,
        FetchError::OffsetOutOfRange {
            tp: tp(&topic, 0),
            offset: 1_000
        }
    );
    consumer
        .start([(tp(&topic, 0), StartAt::Earliest)])
        .expect("is assigned");
    assert_eq!(numbers(&read_count(&mut consumer, 5).await), [0, 1, 2, 3, 4]);
    Ok(())
}

async fn below_the_start_without_a_policy_is_an_error(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..5).await;
    let deleted = scene
        .admin()
        .await
        .delete_records(&[(tp(&topic, 0), 3)])
        .await
        .expect("answers");
    assert_eq!(deleted[0].1, Ok(3));
    let mut consumer = start_at(&scene, &topic, AutoOffsetReset::None, 1).await;
    let error = read_error(&mut consumer).await;
    assert!(
        matches!(error, FetchError::OffsetOutOfRange { offset: 1, .. }),
        "{error}"
    );
    Ok(())
}

async fn out_of_range_with_earliest_starts_at_the_oldest_record(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..5).await;
    let mut consumer = start_at(&scene, &topic, AutoOffsetReset::Earliest, 1_000).await;
    assert_eq!(numbers(&read_count(&mut consumer, 5).await), [0, 1, 2, 3, 4]);
    Ok(())
}

async fn out_of_range_with_latest_starts_at_the_end(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..5).await;
    let mut consumer = start_at(&scene, &topic, AutoOffsetReset::Latest, 1_000).await;
    crate::positions::wait_for_position(&mut consumer, &topic, 1_000).await;
    // The position is as it was asked for until a broker says that there is no such offset.
    loop {
        let read = crate::reading::read_within(&mut consumer, Duration::from_millis(20)).await;
        assert_eq!(read, []);
        if consumer
            .position(&tp(&topic, 0))
            .is_some_and(|position| position.offset == 5)
        {
            break;
        }
    }
    scene.write(&topic, 0, 5..7).await;
    assert_eq!(numbers(&read_count(&mut consumer, 2).await), [5, 6]);
    Ok(())
}

async fn out_of_range_by_duration_starts_with_the_youngest_records(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..5).await; // A day old.
    let producer = scene.producer(|_| {}).await;
    let record = engine_client::ProduceRecord {
        topic: &topic,
        timestamp: Some(now_ms()),
        value: Some(b"5"),
        ..engine_client::ProduceRecord::default()
    };
    producer.send(record).await.expect("is accepted");
    producer.flush().await.expect("is delivered");
    let policy = AutoOffsetReset::ByDuration(Duration::from_secs(3_600));
    let mut consumer = start_at(&scene, &topic, policy, 1_000).await;
    assert_eq!(numbers(&read_count(&mut consumer, 1).await), [5]);
    Ok(())
}
