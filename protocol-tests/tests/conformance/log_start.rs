//! The start of a log: records that are deleted, and logs that compaction leaves holes in.

use std::time::{Duration, Instant};

use engine_client::{ProduceRecord, StartAt};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::ApiKey;

use crate::behaviour::{Shown, behaviours, cannot};
use crate::reading::{numbers, read_count, read_to_end, reader_at};
use crate::scene::{Scene, create_time, partitions, tp};

behaviours! { "Logs":
    a_compacted_topic_with_holes_is_read_to_its_end,
    deleting_records_moves_the_start_of_the_log,
    deleting_all_records_leaves_an_empty_log_that_goes_on,
    deleting_records_beyond_the_end_is_refused,
    reading_goes_on_while_records_before_it_are_deleted,
}

/// How long a broker may take to compact: Apache Kafka looks every 15 seconds.
const COMPACTED_WITHIN: Duration = Duration::from_secs(60);

/// Bounded in time: where nothing is compacted meanwhile, the behaviour is not shown.
async fn a_compacted_topic_with_holes_is_read_to_its_end(scene: Scene) -> Shown {
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
    ];
    let topic = scene.topic_with(1, &configs).await.expect("can be created");
    let producer = scene.producer(|config| config.batch_bytes_max = 500).await;
    let deadline = Instant::now() + COMPACTED_WITHIN;
    let mut next = 0_i64;
    loop {
        // Ten keys again and again, one of which is deleted each time, and as much as any broker finds worth compacting.
        for _ in 0..50 {
            let (key, value) = (format!("key-{}", next % 10), "v".repeat(10_000));
            let record = ProduceRecord {
                topic: &topic,
                partition: Some(0),
                timestamp: Some(create_time() + next),
                key: Some(key.as_bytes()),
                value: (next % 10 != 7).then_some(value.as_bytes()),
                headers: &[],
            };
            producer.send(record).await.expect("is accepted");
            next += 1;
        }
        producer.flush().await.expect("is delivered");
        let read = scene.read_topic(&topic, 1).await;
        let offsets: Vec<i64> = read.iter().map(|read| read.record.offset).collect();
        assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
        for read in &read {
            let expected = format!("key-{}", read.record.offset % 10);
            assert_eq!(read.record.key.as_deref(), Some(expected.as_bytes()));
        }
        // The newest of each key is there, and a log that compaction shortened is still read to its end.
        let newest: Vec<i64> = (next - 10..next).filter(|offset| offset % 10 != 7).collect();
        assert!(newest.iter().all(|offset| offsets.contains(offset)), "{offsets:?}");
        if (offsets.len() as i64) < next {
            from_within_a_hole(&scene, &topic, &offsets).await;
            return Ok(());
        }
        if Instant::now() >= deadline {
            return cannot(format!(
                "did not compact {next} records within {} s",
                COMPACTED_WITHIN.as_secs()
            ));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Starting at an offset that is gone begins with the next one that is there.
async fn from_within_a_hole(scene: &Scene, topic: &str, offsets: &[i64]) {
    let hole = (0..).find(|offset| !offsets.contains(offset)).expect("there is one");
    let partition = tp(topic, 0);
    let start = StartAt::Offset {
        offset: hole,
        leader_epoch: None,
    };
    let mut consumer = reader_at(scene, &partition, start).await;
    let read = read_to_end(&mut consumer, std::slice::from_ref(&partition)).await;
    let first = read.first().expect("the newest are there").record.offset;
    assert!(first > hole, "{first} was before {hole}");
}

async fn deleting_records_moves_the_start_of_the_log(scene: Scene) -> Shown {
    scene.needs(ApiKey::DeleteRecords, 0)?;
    let topic = scene.topic(2).await;
    scene.write(&topic, 0, 0..10).await;
    scene.write(&topic, 1, 0..10).await;
    let deleted = scene
        .admin()
        .await
        .delete_records(&[(tp(&topic, 0), 4)])
        .await
        .expect("answers");
    assert_eq!(deleted, [(tp(&topic, 0), Ok(4))]);
    let consumer = scene.consumer(|_| {}).await;
    let starts = consumer
        .beginning_offsets(&partitions(&topic, 2))
        .await
        .expect("answers");
    assert_eq!(starts, [(tp(&topic, 0), 4), (tp(&topic, 1), 0)]);
    let mut consumer = reader_at(&scene, &tp(&topic, 0), StartAt::Earliest).await;
    assert_eq!(
        numbers(&read_count(&mut consumer, 6).await),
        (4..10).collect::<Vec<_>>()
    );
    Ok(())
}

async fn deleting_all_records_leaves_an_empty_log_that_goes_on(scene: Scene) -> Shown {
    scene.needs(ApiKey::DeleteRecords, 0)?;
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..10).await;
    let deleted = scene
        .admin()
        .await
        .delete_records(&[(tp(&topic, 0), -1)])
        .await
        .expect("answers");
    assert_eq!(deleted, [(tp(&topic, 0), Ok(10))]);
    assert_eq!(scene.read_topic(&topic, 1).await, []);
    assert_eq!(scene.write(&topic, 0, 10..12).await, 10);
    assert_eq!(numbers(&scene.read_topic(&topic, 1).await), [10, 11]);
    Ok(())
}

async fn deleting_records_beyond_the_end_is_refused(scene: Scene) -> Shown {
    scene.needs(ApiKey::DeleteRecords, 0)?;
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..3).await;
    let asked = [(tp(&topic, 0), 4), (tp(&topic, 7), 1)];
    let deleted = scene.admin().await.delete_records(&asked).await.expect("answers");
    let code_of = |partition| {
        let there = deleted
            .iter()
            .find(|(tp, _)| tp.partition == partition)
            .expect("is answered");
        there.1.as_ref().expect_err("is refused").code
    };
    assert_eq!(code_of(0), ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(code_of(7), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(numbers(&scene.read_topic(&topic, 1).await), [0, 1, 2]);
    Ok(())
}

async fn reading_goes_on_while_records_before_it_are_deleted(scene: Scene) -> Shown {
    scene.needs(ApiKey::DeleteRecords, 0)?;
    let topic = scene.topic(1).await;
    let admin = scene.admin().await;
    let mut consumer = reader_at(&scene, &tp(&topic, 0), StartAt::Earliest).await;
    for round in 0..5_u32 {
        scene.write(&topic, 0, 10 * round..10 * round + 10).await;
        let read = read_count(&mut consumer, 10).await;
        assert_eq!(numbers(&read), (10 * round..10 * round + 10).collect::<Vec<_>>());
        let before = i64::from(10 * round + 5);
        let deleted = admin.delete_records(&[(tp(&topic, 0), before)]).await.expect("answers");
        assert_eq!(deleted[0].1, Ok(before));
    }
    Ok(())
}
