//! The producer against the embedded broker and its faults.

use std::time::Duration;

use engine_broker::{Broker, BrokerConfig, Fault, FaultAction};
use engine_client::{ProduceRecord, Producer, ProducerConfig, SendError};

const PRODUCE: i16 = 0;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;

async fn broker() -> Broker {
    let config = BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..BrokerConfig::default()
    };
    Broker::start(config).await.unwrap()
}

async fn producer(broker: &Broker) -> Producer {
    Producer::connect(ProducerConfig::new(broker.address().to_string()))
        .await
        .unwrap()
}

/// Sends records one by one to partition 0 and gives the offsets that the receipts tell.
async fn offsets(producer: &Producer, count: usize) -> Vec<Option<i64>> {
    let mut receipts = Vec::new();
    for number in 0..count {
        let value = number.to_string();
        let record = ProduceRecord {
            topic: "numbers",
            partition: Some(0),
            value: Some(value.as_bytes()),
            ..ProduceRecord::default()
        };
        receipts.push(producer.send(record).await.unwrap());
    }
    producer.flush().await.unwrap();
    let mut offsets = Vec::new();
    for receipt in receipts {
        offsets.push(receipt.delivered().await.unwrap().offset);
    }
    offsets
}

fn first(count: i64) -> Vec<Option<i64>> {
    (0..count).map(Some).collect()
}

#[tokio::test]
async fn receipts_tell_the_offsets() {
    let broker = broker().await;
    let producer = producer(&broker).await;
    assert_eq!(offsets(&producer, 1_000).await, first(1_000));
    producer.close(Duration::from_secs(5)).await.unwrap();
    let record = ProduceRecord {
        topic: "numbers",
        ..ProduceRecord::default()
    };
    assert!(matches!(producer.send(record).await, Err(SendError::Record(_))));
    broker.shutdown().await;
}

#[tokio::test]
async fn a_batch_that_was_written_before_the_connection_broke_is_not_written_twice() {
    let broker = broker().await;
    let producer = producer(&broker).await;
    offsets(&producer, 1).await;
    broker.inject(Fault::once(PRODUCE, FaultAction::ApplyThenDisconnect));
    let again = offsets(&producer, 10).await;
    let last = again.last().copied().flatten();
    assert!(last.is_none_or(|last| last == 10), "{again:?}");
    assert_eq!(offsets(&producer, 1).await, [Some(11)], "ten records, each once");
    assert!(producer.stats().retries > 0);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_disconnect_before_the_answer_costs_a_retry_and_no_record() {
    let broker = broker().await;
    broker.inject(Fault::once(API_VERSIONS, FaultAction::Disconnect));
    broker.inject(Fault::once(INIT_PRODUCER_ID, FaultAction::Disconnect));
    broker.inject(Fault::once(PRODUCE, FaultAction::Disconnect));
    let producer = producer(&broker).await;
    assert_eq!(offsets(&producer, 10).await, first(10));
    broker.shutdown().await;
}
