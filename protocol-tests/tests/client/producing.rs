//! The producer against the embedded broker and its faults.

use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig, Fault, FaultAction};
use engine_client::{
    Admin, DeliveryError, ProduceRecord, Producer, ProducerConfig, SendError, TrySendError, admin::NewTopic,
};

use crate::scene::PATIENCE;

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

fn config(broker: &Broker) -> ProducerConfig {
    ProducerConfig::new(broker.address().to_string())
}

async fn producer(broker: &Broker) -> Producer {
    Producer::connect(config(broker)).await.unwrap()
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

#[tokio::test]
async fn closing_in_time_tells_what_was_given_up() {
    let broker = broker().await;
    let producer = producer(&broker).await;
    offsets(&producer, 1).await;
    broker.inject(Fault::once(PRODUCE, FaultAction::Silence));
    let record = ProduceRecord {
        topic: "numbers",
        value: Some(b"lost in silence"),
        ..ProduceRecord::default()
    };
    let receipt = producer.send(record).await.unwrap();
    let started = Instant::now();
    let closed = producer.close(Duration::from_millis(300)).await;
    // A request may take half a minute.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(matches!(closed, Err(DeliveryError::Aborted { .. })), "{closed:?}");
    let delivered = receipt.delivered().await;
    assert!(matches!(delivered, Err(DeliveryError::Aborted { .. })), "{delivered:?}");
    broker.shutdown().await;
}

#[tokio::test]
async fn a_full_buffer_makes_senders_wait_and_never_grows() {
    let broker = broker().await;
    let config = ProducerConfig {
        buffer_bytes_max: 64 << 10,
        batch_bytes_max: 8 << 10,
        ..config(&broker)
    };
    let producer = Producer::connect(config).await.unwrap();
    for _ in 0..20 {
        broker.inject(Fault::once(PRODUCE, FaultAction::Delay(Duration::from_millis(10))));
    }
    let value = [7; 1_000];
    let record = ProduceRecord {
        topic: "numbers",
        value: Some(&value),
        ..ProduceRecord::default()
    };
    for _ in 0..1_000 {
        producer.send(record).await.unwrap();
        let stats = producer.stats();
        assert!(stats.buffered_bytes <= stats.buffer_bytes_max, "{stats:?}");
    }
    assert!(producer.stats().buffer_full > 0, "a megabyte went through 64 KiB");
    producer.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(producer.stats().records_delivered, 1_000);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_buffer_that_stays_full_is_an_error_that_says_for_how_long() {
    let broker = broker().await;
    let config = ProducerConfig {
        buffer_bytes_max: 16 << 10,
        batch_bytes_max: 8 << 10,
        block_max: Duration::from_millis(900),
        ..config(&broker)
    };
    let producer = Producer::connect(config).await.unwrap();
    offsets(&producer, 1).await;
    broker.inject(Fault {
        times: 10,
        ..Fault::once(PRODUCE, FaultAction::Silence)
    });
    let value = [7; 1_000];
    let record = ProduceRecord {
        topic: "numbers",
        value: Some(&value),
        ..ProduceRecord::default()
    };
    let error = loop {
        if let Err(error) = producer.send(record).await {
            break error;
        }
    };
    assert_eq!(error.to_string(), "numbers: the buffer stayed full for 900 ms");
    assert!(matches!(producer.try_send(record), Err(TrySendError::Full { .. })));
    broker.shutdown().await;
}

#[tokio::test]
async fn dropping_a_producer_does_not_block_and_still_sends() {
    let broker = broker().await;
    let config = ProducerConfig {
        linger: Duration::from_secs(60),
        ..config(&broker)
    };
    let producer = Producer::connect(config).await.unwrap();
    producer.partitions_for("numbers").await.unwrap();
    let record = ProduceRecord {
        topic: "numbers",
        partition: Some(0),
        value: Some(b"left behind"),
        ..ProduceRecord::default()
    };
    // Who waited for the delivery would wait for this.
    broker.inject(Fault::once(PRODUCE, FaultAction::Delay(Duration::from_secs(4))));
    let receipt = producer.send(record).await.unwrap();
    let started = Instant::now();
    drop(producer);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let delivered = tokio::time::timeout(PATIENCE, receipt.delivered()).await;
    assert_eq!(delivered.expect("in time").expect("delivered").offset, Some(0));
    broker.shutdown().await;
}

#[tokio::test]
async fn a_delivery_that_takes_too_long_fails_with_its_history() {
    let broker = broker().await;
    let mut config = ProducerConfig {
        delivery_timeout: Duration::from_millis(2_400),
        ..config(&broker)
    };
    config.client.request_timeout = Duration::from_millis(800);
    let producer = Producer::connect(config).await.unwrap();
    offsets(&producer, 1).await;
    broker.inject(Fault {
        times: 1_000,
        ..Fault::once(PRODUCE, FaultAction::Disconnect)
    });
    let record = ProduceRecord {
        topic: "numbers",
        partition: Some(0),
        value: Some(b"never"),
        ..ProduceRecord::default()
    };
    let receipt = producer.send(record).await.unwrap();
    let failed = tokio::time::timeout(PATIENCE, receipt.delivered()).await;
    let failed = failed.expect("in time").expect_err("never acknowledged").to_string();
    let told =
        failed.starts_with("numbers-0: not acknowledged within 2400 ms, ") && failed.contains("attempts; last: ");
    assert!(told, "{failed}");
    assert_eq!(producer.flush().await.expect_err("told once").to_string(), failed);
    broker.clear_faults();
    producer.flush().await.expect("told once only");
    broker.shutdown().await;
}

#[tokio::test]
async fn sending_without_waiting_asks_again_for_a_topic_that_was_missing() {
    let broker = Broker::start(BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        auto_create_topics: false,
        ..BrokerConfig::default()
    })
    .await
    .unwrap();
    let producer = producer(&broker).await;
    let record = ProduceRecord {
        topic: "late",
        value: Some(b"v"),
        ..ProduceRecord::default()
    };
    for _ in 0..5 {
        assert!(matches!(producer.try_send(record), Err(TrySendError::Full { .. })));
        producer.ready().await;
    }
    let admin = Admin::connect(config(&broker).client).await.unwrap();
    let late = NewTopic {
        name: "late".into(),
        ..NewTopic::default()
    };
    admin.create_topics(&[late]).await.unwrap().remove(0).1.unwrap();
    let sent = async {
        loop {
            match producer.try_send(record) {
                Ok(receipt) => return receipt,
                Err(_) => producer.ready().await,
            }
        }
    };
    let receipt = tokio::time::timeout(PATIENCE, sent).await;
    receipt.expect("soon").delivered().await.unwrap();
    broker.shutdown().await;
}

#[tokio::test]
async fn a_partition_that_was_added_a_moment_ago_is_found_and_one_that_was_not_is_refused() {
    let broker = broker().await;
    let producer = producer(&broker).await;
    let count = producer.partitions_for("numbers").await.unwrap();
    let admin = Admin::connect(config(&broker).client).await.unwrap();
    let grown = admin.create_partitions(&[("numbers", count + 1)]).await.unwrap();
    assert!(grown[0].1.is_ok(), "{grown:?}");
    let record = |partition| ProduceRecord {
        topic: "numbers",
        partition: Some(partition),
        value: Some(b"v"),
        ..ProduceRecord::default()
    };
    let receipt = producer.send(record(count)).await.unwrap();
    assert_eq!(receipt.delivered().await.unwrap().offset, Some(0));
    let refused = producer.send(record(count + 1)).await.unwrap_err();
    let expected = format!("numbers has partitions 0 to {count}, not {}", count + 1);
    assert_eq!(refused.to_string(), expected);
    broker.shutdown().await;
}
