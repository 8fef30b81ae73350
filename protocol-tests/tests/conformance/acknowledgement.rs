//! Producing: what an acknowledgement promises, by `acks`.

use std::time::Duration;

use engine_client::{Acks, AppendError, ProduceRecord, ProducerConfig, SendError, StartAt};
use engine_wire::messages::ApiKey;

use crate::behaviour::{Shown, behaviours};
use crate::reading::{numbers, numbers_of, read_count, reader_at};
use crate::scene::{Scene, create_time, tp, write_with};

behaviours! { "Producing":
    acks_all_with_idempotence_acknowledges_each_record_with_its_offset,
    acks_all_without_idempotence_acknowledges_each_record_with_its_offset,
    acks_1_acknowledges_each_record_with_its_offset,
    acks_0_writes_without_telling_offsets,
    order_is_kept_with_five_requests_in_flight,
    an_idempotent_producer_marks_its_batches_with_an_id_and_sequences,
    records_that_linger_share_a_batch,
    flush_waits_for_every_record,
    close_delivers_what_is_buffered_and_takes_no_more,
    dropping_a_producer_still_delivers_what_is_buffered,
    many_producers_write_to_one_partition_side_by_side,
}

async fn acks_all_with_idempotence_acknowledges_each_record_with_its_offset(scene: Scene) -> Shown {
    scene.needs(ApiKey::InitProducerId, 0)?;
    offsets_rise_from_zero(&scene, |config| config.acks = Acks::All).await
}

async fn acks_all_without_idempotence_acknowledges_each_record_with_its_offset(scene: Scene) -> Shown {
    offsets_rise_from_zero(&scene, |config| config.enable_idempotence = false).await
}

async fn acks_1_acknowledges_each_record_with_its_offset(scene: Scene) -> Shown {
    offsets_rise_from_zero(&scene, |config| {
        config.acks = Acks::Leader;
        config.enable_idempotence = false;
    })
    .await
}

async fn offsets_rise_from_zero(scene: &Scene, change: impl FnOnce(&mut ProducerConfig)) -> Shown {
    let topic = scene.topic(1).await;
    let producer = scene.producer(change).await;
    let delivered = write_with(&producer, &topic, 0, 0..100).await;
    let offsets: Vec<_> = delivered.iter().map(|delivered| delivered.offset).collect();
    assert_eq!(offsets, (0..100).map(Some).collect::<Vec<_>>());
    // With acks = 1 the other replicas may not have them yet, and what they do not have is not read.
    let mut consumer = reader_at(scene, &tp(&topic, 0), StartAt::Earliest).await;
    let read = read_count(&mut consumer, 100).await;
    assert_eq!(numbers(&read), (0..100).collect::<Vec<_>>());
    Ok(())
}

async fn acks_0_writes_without_telling_offsets(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let partition = tp(&topic, 0);
    // Nobody would tell that a broker which does not lead the partition yet drops the records. Only the leader knows
    // where a partition ends: every broker can have its name some time before it has taken office.
    let mut consumer = reader_at(&scene, &partition, StartAt::Earliest).await;
    let ends = consumer.end_offsets(std::slice::from_ref(&partition)).await;
    assert_eq!(ends.expect("is led in the end"), [(partition, 0)]);
    let change = |config: &mut ProducerConfig| {
        config.acks = Acks::None;
        config.enable_idempotence = false;
    };
    let producer = scene.producer(change).await;
    let delivered = write_with(&producer, &topic, 0, 0..10).await;
    assert!(delivered.iter().all(|delivered| delivered.offset.is_none()));
    let read = read_count(&mut consumer, 10).await;
    assert_eq!(numbers(&read), (0..10).collect::<Vec<_>>());
    Ok(())
}

async fn order_is_kept_with_five_requests_in_flight(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    let change = |config: &mut ProducerConfig| {
        config.in_flight_max = 5;
        config.linger = Duration::ZERO;
        config.batch_bytes_max = 512;
    };
    let producer = scene.producer(change).await;
    for number in 0..2_000_u32 {
        let value = number.to_string();
        let record = ProduceRecord {
            topic: &topic,
            partition: Some((number % 2) as i32),
            value: Some(value.as_bytes()),
            ..ProduceRecord::default()
        };
        producer.send(record).await.expect("is accepted");
    }
    producer.flush().await.expect("is delivered");
    let read = scene.read_topic(&topic, 2).await;
    for partition in 0..2_u32 {
        let expected: Vec<u32> = (0..2_000).filter(|number| number % 2 == partition).collect();
        assert_eq!(numbers_of(&read, partition as i32), expected);
    }
    Ok(())
}

async fn an_idempotent_producer_marks_its_batches_with_an_id_and_sequences(scene: Scene) -> Shown {
    scene.needs(ApiKey::InitProducerId, 0)?;
    let topic = scene.topic(1).await;
    let producer = scene.producer(|_| {}).await;
    write_with(&producer, &topic, 0, 0..3).await;
    write_with(&producer, &topic, 0, 3..5).await;
    let headers = scene.batch_headers(&topic).await;
    let producer_id = headers[0].producer_id;
    assert!(producer_id >= 0, "no producer id");
    let mut next_sequence = 0;
    for header in &headers {
        assert_eq!((header.producer_id, header.base_sequence), (producer_id, next_sequence));
        next_sequence += header.record_count;
    }
    assert_eq!(next_sequence, 5);
    Ok(())
}

async fn records_that_linger_share_a_batch(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let producer = scene.producer(|config| config.linger = Duration::from_secs(5)).await;
    write_with(&producer, &topic, 0, 0..500).await;
    let headers = scene.batch_headers(&topic).await;
    assert_eq!(headers.len(), 1, "flush sends what lingers, in one batch");
    assert_eq!(headers[0].record_count, 500);
    Ok(())
}

async fn flush_waits_for_every_record(scene: Scene) -> Shown {
    let topic = scene.topic(3).await;
    let producer = scene
        .producer(|config| config.linger = Duration::from_millis(200))
        .await;
    for number in 0..300_u32 {
        let value = number.to_string();
        let record = ProduceRecord {
            topic: &topic,
            timestamp: Some(create_time()),
            value: Some(value.as_bytes()),
            ..ProduceRecord::default()
        };
        producer.send(record).await.expect("is accepted");
    }
    producer.flush().await.expect("is delivered");
    assert_eq!(producer.stats().records_delivered, 300);
    assert_eq!(scene.read_topic(&topic, 3).await.len(), 300);
    Ok(())
}

async fn close_delivers_what_is_buffered_and_takes_no_more(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let producer = scene.producer(|config| config.linger = Duration::from_secs(30)).await;
    let record = ProduceRecord {
        topic: &topic,
        value: Some(b"7"),
        ..ProduceRecord::default()
    };
    let receipt = producer.send(record).await.expect("is accepted");
    producer.close(Duration::from_secs(20)).await.expect("is delivered");
    receipt.delivered().await.expect("is delivered");
    assert_eq!(numbers(&scene.read_topic(&topic, 1).await), [7]);
    let refused = producer.send(record).await.expect_err("is closed");
    assert!(matches!(refused, SendError::Record(AppendError::Closed)), "{refused}");
    Ok(())
}

async fn dropping_a_producer_still_delivers_what_is_buffered(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let producer = scene.producer(|config| config.linger = Duration::from_secs(30)).await;
    let record = ProduceRecord {
        topic: &topic,
        value: Some(b"8"),
        ..ProduceRecord::default()
    };
    let receipt = producer.send(record).await.expect("is accepted");
    drop(producer);
    receipt.delivered().await.expect("is delivered");
    assert_eq!(numbers(&scene.read_topic(&topic, 1).await), [8]);
    Ok(())
}

async fn many_producers_write_to_one_partition_side_by_side(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let writers = (0..4_u32).map(|writer| {
        let (scene, topic) = (scene.clone(), topic.clone());
        tokio::spawn(async move {
            let producer = scene.producer(|_| {}).await;
            for round in 0..5 {
                let first = 1_000 * writer + 20 * round;
                write_with(&producer, &topic, 0, first..first + 20).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("writes");
    }
    let read = numbers(&scene.read_topic(&topic, 1).await);
    for writer in 0..4 {
        let own: Vec<u32> = read.iter().copied().filter(|number| number / 1_000 == writer).collect();
        assert_eq!(own, (1_000 * writer..1_000 * writer + 100).collect::<Vec<_>>());
    }
    assert_eq!(read.len(), 400);
    Ok(())
}
