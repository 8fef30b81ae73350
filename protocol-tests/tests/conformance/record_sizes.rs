//! Sizes: what fits, what is split, what is refused and by whom.

use std::time::Duration;

use engine_client::{AppendError, DeliveryError, ProduceRecord, SendError, StartAt};
use engine_wire::error_code::ErrorCode;

use crate::behaviour::{Shown, behaviours};
use crate::reading::{read_count, reader_at};
use crate::scene::{Scene, tp};

behaviours! { "Sizes":
    a_record_of_nearly_one_mebibyte_goes_through,
    a_batch_of_exactly_max_message_bytes_is_taken_and_one_byte_more_is_refused,
    a_record_beyond_max_request_size_is_refused_before_it_is_sent,
    a_batch_too_large_for_its_topic_is_split_and_keeps_its_order,
    a_batch_too_large_is_split_whatever_its_codec,
    a_record_larger_than_every_fetch_limit_is_read,
    a_producer_goes_on_after_a_record_that_was_refused,
}

/// Bytes of a batch with one record of this much value and nothing else: its header, and the record's own fields around
/// a value whose length takes three bytes.
const BATCH_BYTES_AROUND_VALUE: usize = 61 + 11;

async fn send_bytes(producer: &engine_client::Producer, topic: &str, bytes: usize) -> Result<i64, DeliveryError> {
    let value = vec![b'v'; bytes];
    let record = ProduceRecord {
        topic,
        partition: Some(0),
        value: Some(&value),
        ..ProduceRecord::default()
    };
    let receipt = producer.send(record).await.expect("is accepted");
    let delivered = receipt.delivered().await?;
    Ok(delivered.offset.expect("acks = all tells offsets"))
}

async fn a_record_of_nearly_one_mebibyte_goes_through(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let producer = scene.producer(|_| {}).await;
    // The default of `max.request.size`, to the byte.
    let bytes = (1 << 20) - BATCH_BYTES_AROUND_VALUE;
    assert_eq!(send_bytes(&producer, &topic, bytes).await, Ok(0));
    let read = scene.read_topic(&topic, 1).await;
    assert_eq!(read[0].record.value.as_deref().map(<[u8]>::len), Some(bytes));
    Ok(())
}

async fn a_batch_of_exactly_max_message_bytes_is_taken_and_one_byte_more_is_refused(scene: Scene) -> Shown {
    let topic = scene.topic_with(1, &[("max.message.bytes", "100000")]).await;
    let topic = topic.expect("can be created");
    let producer = scene.producer(|_| {}).await;
    let fitting = 100_000 - BATCH_BYTES_AROUND_VALUE;
    assert_eq!(send_bytes(&producer, &topic, fitting).await, Ok(0));
    let refused = send_bytes(&producer, &topic, fitting + 1).await;
    assert!(
        matches!(
            &refused,
            Err(DeliveryError::Refused {
                code: Some(ErrorCode::MESSAGE_TOO_LARGE),
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(scene.read_topic(&topic, 1).await.len(), 1);
    Ok(())
}

async fn a_record_beyond_max_request_size_is_refused_before_it_is_sent(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let producer = scene.producer(|config| config.request_bytes_max = 50_000).await;
    let fitting = 50_000 - BATCH_BYTES_AROUND_VALUE;
    assert_eq!(send_bytes(&producer, &topic, fitting).await, Ok(0));
    let requests = producer.stats().requests;
    let value = vec![b'v'; fitting + 1];
    let record = ProduceRecord {
        topic: &topic,
        value: Some(&value),
        ..ProduceRecord::default()
    };
    let refused = producer.send(record).await.expect_err("is too large");
    assert!(
        matches!(
            &refused,
            SendError::Record(AppendError::RecordTooLarge { bytes_max: 50_000, .. })
        ),
        "{refused}"
    );
    assert_eq!(producer.stats().requests, requests);
    Ok(())
}

async fn a_batch_too_large_for_its_topic_is_split_and_keeps_its_order(scene: Scene) -> Shown {
    split(&scene, engine_client::Codec::None).await
}

async fn a_batch_too_large_is_split_whatever_its_codec(scene: Scene) -> Shown {
    for codec in [
        engine_client::Codec::Gzip,
        engine_client::Codec::Snappy,
        engine_client::Codec::Lz4,
        engine_client::Codec::Zstd,
    ] {
        split(&scene, codec).await?;
    }
    Ok(())
}

async fn split(scene: &Scene, codec: engine_client::Codec) -> Shown {
    let topic = scene.topic_with(1, &[("max.message.bytes", "10000")]).await;
    let topic = topic.expect("can be created");
    let producer = scene
        .producer(|config| {
            config.linger = Duration::from_secs(5);
            config.compression = codec;
        })
        .await;
    let mut noise = 1_u64;
    let mut written = Vec::new();
    for _ in 0..60 {
        // Bytes that do not compress, so that the codec does not make it fit.
        let value: Vec<u8> = (0..1_000)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (noise >> 56) as u8
            })
            .collect();
        let record = ProduceRecord {
            topic: &topic,
            value: Some(&value),
            ..ProduceRecord::default()
        };
        producer.send(record).await.expect("is accepted");
        written.push(Some(value));
    }
    producer.flush().await.expect("is delivered");
    assert!(producer.stats().splits > 0, "the broker took 60 kB at once");
    let read = scene.read_topic(&topic, 1).await;
    let read: Vec<_> = read.into_iter().map(|read| read.record.value).collect();
    assert!(read == written, "{} records, or not in order", read.len());
    Ok(())
}

async fn a_record_larger_than_every_fetch_limit_is_read(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let producer = scene.producer(|_| {}).await;
    for _ in 0..3 {
        send_bytes(&producer, &topic, 200_000).await.expect("is delivered");
    }
    let change = |config: &mut engine_client::ConsumerConfig| {
        config.fetch_bytes_min = 1;
        config.fetch_bytes_max = 1_000;
        config.partition_fetch_bytes_max = 1_000;
        config.prefetch_bytes_max = 1_000;
    };
    assert_eq!(scene.read_topic_with(&topic, 1, change).await.len(), 3);
    Ok(())
}

async fn a_producer_goes_on_after_a_record_that_was_refused(scene: Scene) -> Shown {
    let topic = scene.topic_with(1, &[("max.message.bytes", "10000")]).await;
    let topic = topic.expect("can be created");
    let producer = scene.producer(|_| {}).await;
    assert_eq!(send_bytes(&producer, &topic, 5_000).await, Ok(0));
    send_bytes(&producer, &topic, 20_000).await.expect_err("is too large");
    assert_eq!(send_bytes(&producer, &topic, 5_001).await, Ok(1));
    assert_eq!(send_bytes(&producer, &topic, 5_002).await, Ok(2));
    let mut consumer = reader_at(&scene, &tp(&topic, 0), StartAt::Earliest).await;
    assert_eq!(read_count(&mut consumer, 3).await[2].record.offset, 2);
    Ok(())
}
