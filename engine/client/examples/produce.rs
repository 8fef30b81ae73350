//! Sends records with keys and headers, and waits until every one is acknowledged.
//!
//! `cargo run -p engine-client --example produce -- localhost:9092 greetings`

use std::{error::Error, time::Duration};

use engine_client::{Codec, Header, ProduceRecord, Producer, ProducerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let servers = arguments.next().unwrap_or("localhost:9092".into());
    let topic = arguments.next().unwrap_or("greetings".into());
    produce(&servers, &topic).await
}

/// Sends a thousand greetings.
pub(crate) async fn produce(servers: &str, topic: &str) -> Result<(), Box<dyn Error>> {
    let mut config = ProducerConfig::new(servers);
    config.compression = Codec::Lz4;
    config.linger = Duration::from_millis(5);
    let producer = Producer::connect(config).await?;

    let headers = [Header {
        key: b"language",
        value: Some(b"en"),
    }];
    let mut last = None;
    for number in 0..1_000u32 {
        let (key, value) = (format!("reader-{}", number % 10), format!("hello {number}"));
        let record = ProduceRecord {
            topic,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &headers,
            ..ProduceRecord::default()
        };
        // Waits only while `buffer.memory` is full. The receipt may be dropped; `flush` tells of failures too.
        last = Some(producer.send(record).await?);
    }
    producer.flush().await?;
    if let Some(receipt) = last {
        let delivered = receipt.delivered().await?;
        println!(
            "the last one is in partition {} at {:?}",
            delivered.partition, delivered.offset
        );
    }
    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}
