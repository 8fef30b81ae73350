//! A broker that accepts everything and then answers nothing, before a producer at full speed.

use std::time::Duration;

use engine_client::{Producer, ProducerConfig, SendError, TopicRecord};
use engine_wire::compression::Codec;
use engine_wire::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use engine_wire::messages::{ApiKey, ProduceRequest, ProduceResponse};
use protocol_tests::tampering_proxy::{Exchange, Reply};

use super::scenario::{ALLOCATOR, TOPIC, cluster, held_at_most, in_its_own_process};

/// Acknowledges what it never kept, so that the broker's own memory is not counted.
fn acknowledge(exchange: &mut Exchange<'_>) -> Reply {
    let request: ProduceRequest = exchange.asked();
    let topics = request.topic_data.into_iter().map(|topic| {
        let partitions = topic.partition_data.iter();
        let answers = partitions.map(|partition| PartitionProduceResponse::default().with_index(partition.index));
        TopicProduceResponse::default()
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
            .with_partition_responses(answers.collect())
    });
    exchange.made(&ProduceResponse::default().with_responses(topics.collect()))
}

struct Stall {
    partitions: i32,
    batch_bytes_max: usize,
    buffer_bytes_max: usize,
    codec: Codec,
}

impl Stall {
    /// The constant: what is not a record. Per batch its bookkeeping and its receipt, per core a batch that is being
    /// compressed (its output beside its arena) and the codec's tables, two spare arenas; a MiB for connections,
    /// metadata and the runtime; and what the test itself needs for the requests that it swallows.
    fn overhead(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let batches = 2 * self.buffer_bytes_max / self.batch_bytes_max + 8 * self.partitions as usize;
        let spares = 2 * self.batch_bytes_max;
        // A request of `max.request.size` that was read and is decoded, on the connection that was cut and on the next one.
        let request = 2 * (2 << 20);
        (1 << 20) + batches * 512 + cores * (self.batch_bytes_max + (256 << 10)) + spares + request
    }

    async fn run(self) {
        let (broker, proxy) = cluster(self.partitions).await;
        proxy.tamper(ApiKey::Produce, acknowledge);
        let baseline = ALLOCATOR.allocated();
        let mut config = ProducerConfig::new(proxy.address().to_string());
        config.buffer_bytes_max = self.buffer_bytes_max;
        config.batch_bytes_max = self.batch_bytes_max;
        config.compression = self.codec;
        config.client.request_timeout = Duration::from_millis(800);
        let producer = Producer::connect(config).await.expect("connects");
        for round in 0..2 {
            // Full batches flow, and their arenas are kept for the next ones.
            proxy.tamper(ApiKey::Produce, acknowledge);
            proxy.disconnect_all();
            let flowing = 4 * self.buffer_bytes_max / 300;
            append(&producer, self.partitions, flowing)
                .await
                .expect("the broker takes all");
            producer.flush().await.expect("the broker takes all");
            // Then the broker answers nothing more.
            proxy.tamper(ApiKey::Produce, |_| Reply::Silence);
            let mut senders = tokio::task::JoinSet::new();
            for _ in 0..4 {
                let (producer, partitions) = (producer.clone(), self.partitions);
                senders.spawn(async move { append(&producer, partitions, usize::MAX).await });
            }
            let mut stats = producer.stats();
            loop {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let before = std::mem::replace(&mut stats, producer.stats());
                if stats.buffer_full > 0 && stats.records == before.records {
                    break;
                }
            }
            assert!(senders.try_join_next().is_none(), "a sender did not wait");
            senders.shutdown().await;
            assert!(
                stats.buffered_bytes <= self.buffer_bytes_max,
                "round {round}: {stats:?}"
            );
            assert!(
                stats.buffered_bytes > self.buffer_bytes_max / 2,
                "round {round}: too little was buffered to measure anything: {stats:?}"
            );
        }
        let what = format!(
            "{} B batches, {} partitions, {}",
            self.batch_bytes_max, self.partitions, self.codec
        );
        held_at_most(&what, baseline, self.buffer_bytes_max + self.overhead());
        proxy.tamper(ApiKey::Produce, acknowledge);
        proxy.disconnect_all();
        producer
            .close(Duration::from_secs(20))
            .await
            .expect("the rest goes out");
        broker.shutdown().await;
    }
}

/// `count` records of about 300 bytes, keyed so that all partitions get some.
async fn append(producer: &Producer, partitions: i32, count: usize) -> Result<usize, SendError> {
    let value = b"0123456789abcdefghijklmnopqrstuvwxyz".repeat(8);
    let records = (0..count).map(|number| TopicRecord {
        partition: Some((number % partitions as usize) as i32),
        value: Some(&value),
        ..TopicRecord::default()
    });
    producer.append_all(TOPIC, records).await
}

#[test]
fn a_stalled_broker_costs_a_producer_its_buffer_memory() {
    let stall = Stall {
        partitions: 4,
        batch_bytes_max: 128 << 10,
        buffer_bytes_max: 16 << 20,
        codec: Codec::None,
    };
    in_its_own_process(
        "producer::a_stalled_broker_costs_a_producer_its_buffer_memory",
        stall.run(),
    );
}

#[test]
fn a_stalled_broker_costs_a_compressing_producer_its_buffer_memory() {
    let stall = Stall {
        partitions: 4,
        batch_bytes_max: 128 << 10,
        buffer_bytes_max: 16 << 20,
        codec: Codec::Lz4,
    };
    in_its_own_process(
        "producer::a_stalled_broker_costs_a_compressing_producer_its_buffer_memory",
        stall.run(),
    );
}

#[test]
fn large_batches_in_many_partitions_stay_within_buffer_memory() {
    let stall = Stall {
        partitions: 100,
        batch_bytes_max: 1 << 20,
        buffer_bytes_max: 16 << 20,
        codec: Codec::None,
    };
    in_its_own_process(
        "producer::large_batches_in_many_partitions_stay_within_buffer_memory",
        stall.run(),
    );
}
