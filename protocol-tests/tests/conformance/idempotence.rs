//! Idempotence: what the brokers make of sequences, on which the producer's promise rests.

use engine_client::TopicPartition;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::ApiKey;

use crate::behaviour::{Shown, behaviours, cannot};
use crate::raw_producer::RawProducer;
use crate::reading::numbers;
use crate::scene::{Scene, write_with};

behaviours! { "Idempotence":
    a_batch_that_is_sent_twice_is_written_once,
    an_older_batch_that_is_sent_again_is_not_written_again,
    a_gap_in_the_sequences_is_refused_and_nothing_is_written,
    a_producer_whose_records_are_all_deleted_goes_on,
    sequences_go_on_at_zero_after_the_largest,
}

async fn a_batch_that_is_sent_twice_is_written_once(scene: Scene) -> Shown {
    scene.needs(ApiKey::InitProducerId, 3)?;
    let topic = scene.topic(1).await;
    let mut producer = RawProducer::begin(&scene, &topic).await;
    assert_eq!(producer.produce(0, &[1, 2, 3]).await, (ErrorCode::NONE, 0));
    let (again, offset) = producer.produce(0, &[1, 2, 3]).await;
    // Both are success to a producer: the offset of the first time, or the code that says it is known.
    match again {
        ErrorCode::NONE => assert_eq!(offset, 0),
        code => assert_eq!(code, ErrorCode::DUPLICATE_SEQUENCE_NUMBER),
    }
    assert_eq!(producer.produce(3, &[4]).await, (ErrorCode::NONE, 3));
    assert_eq!(numbers(&scene.read_topic(&topic, 1).await), [1, 2, 3, 4]);
    Ok(())
}

async fn an_older_batch_that_is_sent_again_is_not_written_again(scene: Scene) -> Shown {
    scene.needs(ApiKey::InitProducerId, 3)?;
    let topic = scene.topic(1).await;
    let mut producer = RawProducer::begin(&scene, &topic).await;
    for sequence in 0..8 {
        let written = producer.produce(sequence, &[sequence as u32]).await;
        assert_eq!(written, (ErrorCode::NONE, i64::from(sequence)));
    }
    // Brokers remember the last five batches; of an older one they only know that it was.
    for sequence in [4, 0] {
        let (code, _) = producer.produce(sequence, &[sequence as u32]).await;
        let is_known = [
            ErrorCode::NONE,
            ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ];
        assert!(is_known.contains(&code), "{code}");
    }
    assert_eq!(numbers(&scene.read_topic(&topic, 1).await), (0..8).collect::<Vec<_>>());
    Ok(())
}

async fn a_gap_in_the_sequences_is_refused_and_nothing_is_written(scene: Scene) -> Shown {
    scene.needs(ApiKey::InitProducerId, 3)?;
    let topic = scene.topic(1).await;
    let mut producer = RawProducer::begin(&scene, &topic).await;
    assert_eq!(producer.produce(0, &[0, 1]).await, (ErrorCode::NONE, 0));
    let (refused, _) = producer.produce(5, &[5]).await;
    assert_eq!(refused, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(producer.produce(2, &[2]).await, (ErrorCode::NONE, 2));
    assert_eq!(numbers(&scene.read_topic(&topic, 1).await), [0, 1, 2]);
    Ok(())
}

async fn a_producer_whose_records_are_all_deleted_goes_on(scene: Scene) -> Shown {
    scene.needs(ApiKey::DeleteRecords, 0)?;
    let topic = scene.topic(1).await;
    let producer = scene.producer(|_| {}).await;
    write_with(&producer, &topic, 0, 0..5).await;
    let all = [(TopicPartition::new(topic.as_str(), 0), -1)];
    let deleted = scene.admin().await.delete_records(&all).await.expect("answers");
    assert_eq!(deleted[0].1, Ok(5));
    let delivered = write_with(&producer, &topic, 0, 5..8).await;
    assert_eq!(delivered[0].offset, Some(5));
    assert_eq!(numbers(&scene.read_topic(&topic, 1).await), [5, 6, 7]);
    Ok(())
}

async fn sequences_go_on_at_zero_after_the_largest(scene: Scene) -> Shown {
    scene.needs(ApiKey::InitProducerId, 3)?;
    let topic = scene.topic(1).await;
    let mut producer = RawProducer::begin(&scene, &topic).await;
    // A broker takes any sequence of a producer that it does not know.
    let largest = i32::MAX;
    let first = producer.produce(largest - 3, &[0, 1]).await;
    if first.0 == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER {
        return cannot("takes no first sequence but 0, and 2^31 records are too many for a test");
    }
    assert_eq!(first, (ErrorCode::NONE, 0));
    assert_eq!(producer.produce(largest - 1, &[2, 3, 4, 5]).await, (ErrorCode::NONE, 2));
    let (again, _) = producer.produce(largest - 1, &[2, 3, 4, 5]).await;
    assert!(
        again.is_ok() || again == ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
        "{again}"
    );
    let (refused, _) = producer.produce(4, &[8]).await;
    assert_eq!(refused, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(producer.produce(2, &[6]).await, (ErrorCode::NONE, 6));
    assert_eq!(numbers(&scene.read_topic(&topic, 1).await), (0..7).collect::<Vec<_>>());
    Ok(())
}
