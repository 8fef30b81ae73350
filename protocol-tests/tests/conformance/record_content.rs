//! Records: what is written is what is read, to the last byte.

use engine_client::{Header, ProduceRecord, TimestampType};
use protocol_tests::owned_record::OwnedRecord;

use crate::behaviour::{Shown, behaviours, cannot};
use crate::scene::{Scene, create_time, now_ms};

behaviours! { "Records":
    null_and_empty_keys_and_values_are_told_apart,
    headers_keep_their_order_duplicate_keys_and_null_values,
    a_tombstone_keeps_its_key_and_its_headers,
    custom_timestamps_are_kept_in_any_order,
    timestamps_more_than_24_days_apart_share_a_batch,
    a_record_without_timestamp_gets_the_time_of_its_batch,
    log_append_time_replaces_the_timestamps_and_is_told_to_the_producer,
    keys_and_values_are_bytes_not_text,
}

/// Writes them in one batch and reads them back.
async fn round_trip(scene: &Scene, topic: &str, records: &[OwnedRecord]) -> Vec<OwnedRecord> {
    let producer = scene
        .producer(|config| config.linger = std::time::Duration::from_secs(5))
        .await;
    for record in records {
        let headers: Vec<Header<'_>> = record
            .headers
            .iter()
            .map(|(key, value)| Header {
                key,
                value: value.as_deref(),
            })
            .collect();
        let sent = ProduceRecord {
            topic,
            partition: Some(0),
            timestamp: Some(record.timestamp),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        producer.send(sent).await.expect("is accepted");
    }
    producer.flush().await.expect("is delivered");
    let read = scene.read_topic(topic, 1).await;
    read.into_iter().map(|read| read.record).collect()
}

fn record(offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> OwnedRecord {
    OwnedRecord {
        offset,
        timestamp: create_time(),
        key: key.map(Into::into),
        value: value.map(Into::into),
        headers: Vec::new(),
    }
}

async fn null_and_empty_keys_and_values_are_told_apart(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let records = [
        record(0, None, None),
        record(1, Some(b""), None),
        record(2, None, Some(b"")),
        record(3, Some(b""), Some(b"")),
        record(4, Some(b"key"), Some(b"value")),
    ];
    assert_eq!(round_trip(&scene, &topic, &records).await, records);
    Ok(())
}

async fn headers_keep_their_order_duplicate_keys_and_null_values(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let mut records = [record(0, None, Some(b"one")), record(1, None, Some(b"two"))];
    records[0].headers = vec![
        (b"trace".to_vec(), Some(b"1".to_vec())),
        (b"empty".to_vec(), Some(Vec::new())),
        (b"trace".to_vec(), None),
        (b"".to_vec(), Some(b"no key".to_vec())),
        (b"trace".to_vec(), Some(vec![0, 0xff])),
    ];
    records[1].headers = (0..200)
        .map(|n| (format!("h{n}").into_bytes(), Some(vec![n])))
        .collect();
    assert_eq!(round_trip(&scene, &topic, &records).await, records);
    Ok(())
}

async fn a_tombstone_keeps_its_key_and_its_headers(scene: Scene) -> Shown {
    let topic = scene.topic_with(1, &[("cleanup.policy", "compact")]).await;
    let topic = topic.expect("compacted topics can be created");
    let mut records = [
        record(0, Some(b"user-1"), Some(b"here")),
        record(1, Some(b"user-1"), None),
    ];
    records[1].headers = vec![(b"reason".to_vec(), Some(b"left".to_vec()))];
    assert_eq!(round_trip(&scene, &topic, &records).await, records);
    Ok(())
}

async fn custom_timestamps_are_kept_in_any_order(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let mut records = [0_i64, 1, 2, 3].map(|offset| record(offset, None, Some(b"x")));
    for (record, distance) in records.iter_mut().zip([0, 5_000, -5_000, 1]) {
        record.timestamp += distance;
    }
    assert_eq!(round_trip(&scene, &topic, &records).await, records);
    Ok(())
}

async fn timestamps_more_than_24_days_apart_share_a_batch(scene: Scene) -> Shown {
    const DAY: i64 = 86_400_000;
    // Or they would be too old to be kept; the future they must not be in.
    let topic = scene
        .topic_with(1, &[("retention.ms", "-1")])
        .await
        .expect("can be created");
    let mut records = [0_i64, 1, 2].map(|offset| record(offset, None, Some(b"x")));
    for (record, days) in records.iter_mut().zip([-30, 0, -90]) {
        record.timestamp += days * DAY;
    }
    assert_eq!(round_trip(&scene, &topic, &records).await, records);
    let headers = scene.batch_headers(&topic).await;
    assert_eq!(headers.len(), 1);
    assert_eq!(headers[0].max_timestamp, create_time());
    Ok(())
}

async fn a_record_without_timestamp_gets_the_time_of_its_batch(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let before = now_ms();
    let producer = scene.producer(|_| {}).await;
    let sent = ProduceRecord {
        topic: &topic,
        value: Some(b"x"),
        ..ProduceRecord::default()
    };
    producer.send(sent).await.expect("is accepted");
    producer.flush().await.expect("is delivered");
    let read = scene.read_topic(&topic, 1).await;
    assert!((before..=now_ms()).contains(&read[0].record.timestamp));
    Ok(())
}

async fn log_append_time_replaces_the_timestamps_and_is_told_to_the_producer(scene: Scene) -> Shown {
    let topic = scene
        .topic_with(1, &[("message.timestamp.type", "LogAppendTime")])
        .await;
    let topic = topic.expect("such topics can be created");
    // The broker of the test is on this machine, and has its clock.
    let before = now_ms();
    let producer = scene.producer(|_| {}).await;
    let delivered = crate::scene::write_with(&producer, &topic, 0, 0..3).await;
    let headers = scene.batch_headers(&topic).await;
    if headers[0].timestamp_type() == TimestampType::CreateTime {
        assert_eq!(
            headers[0].max_timestamp,
            create_time() + 2,
            "neither the producer's time nor the broker's"
        );
        return cannot("keeps the producer's timestamps, whatever the topic's message.timestamp.type says");
    }
    let told = delivered[0].log_append_time_ms;
    let told = told.expect("the broker tells the time of the append");
    assert!((before - 1_000..=now_ms() + 1_000).contains(&told), "{told} is not now");
    let read = scene.read_topic(&topic, 1).await;
    let times: Vec<i64> = read.iter().map(|read| read.record.timestamp).collect();
    assert_eq!(times, [told; 3]);
    Ok(())
}

async fn keys_and_values_are_bytes_not_text(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let records = [
        record(0, Some(&every_byte), Some(&every_byte)),
        record(1, Some(&[0xff]), Some(&[0xc3, 0x28])),
    ];
    assert_eq!(round_trip(&scene, &topic, &records).await, records);
    Ok(())
}
