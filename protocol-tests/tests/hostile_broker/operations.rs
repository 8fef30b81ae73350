//! What clients do while they are lied to: each from its connection to its end, with the result checked.

use std::error::Error;
use std::time::Duration;

use engine_broker::{Broker, BrokerConfig};
use engine_client::admin::NewTopic;
use engine_client::{
    Admin, AutoOffsetReset, ClientConfig, CommittedOffset, Consumer, ConsumerConfig, ConsumerGroupMetadata, Event,
    IsolationLevel, ProduceRecord, Producer, ProducerConfig, StartAt, TopicPartition,
};
use engine_wire::compression::{DecodeLimits, Decompressor};
use protocol_tests::tampering_proxy::TamperingProxy;

pub(crate) const TOPIC: &str = "orders";
const GROUP: &str = "group";
/// What the topic's partition 0 holds from the beginning.
const VALUE: &[u8] = b"the first record";

/// A broker, the proxy before it, and a topic with a record.
pub(crate) struct Stage {
    broker: Broker,
    pub(crate) proxy: TamperingProxy,
}

/// Something a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Produce,
    Consume,
    ConsumeCommitted,
    Join,
    Administrate,
    Transact,
    TransactExplicitly,
}

impl Stage {
    pub(crate) async fn new(operation: Operation) -> Stage {
        let config = BrokerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            transaction_version: if operation == Operation::TransactExplicitly {
                0
            } else {
                2
            },
            ..BrokerConfig::default()
        };
        let broker = Broker::start(config).await.expect("the embedded broker starts");
        let proxy = TamperingProxy::start(broker.address());
        let stage = Stage { broker, proxy };
        let admin = Admin::connect(ClientConfig::new(stage.broker.address().to_string())).await;
        let topic = NewTopic {
            name: TOPIC.into(),
            partitions: Some(2),
            ..NewTopic::default()
        };
        let created = admin
            .expect("connects")
            .create_topics(&[topic])
            .await
            .expect("is created");
        assert_eq!(created, [(TOPIC.to_owned(), Ok(()))]);
        let producer = Producer::connect(ProducerConfig::new(stage.broker.address().to_string())).await;
        send(&producer.expect("connects"), VALUE).await.expect("is delivered");
        stage
    }

    pub(crate) async fn end(self) {
        drop(self.proxy);
        self.broker.shutdown().await;
    }

    fn client(&self) -> ClientConfig {
        ClientConfig {
            request_timeout: Duration::from_millis(700),
            default_api_timeout: Duration::from_secs(3),
            retry_backoff: Duration::from_millis(20),
            retry_backoff_max: Duration::from_millis(100),
            reconnect_backoff: Duration::from_millis(20),
            reconnect_backoff_max: Duration::from_millis(100),
            connection_setup_timeout: Duration::from_secs(3),
            ..ClientConfig::new(self.proxy.address().to_string())
        }
    }

    fn producer(&self) -> ProducerConfig {
        ProducerConfig {
            client: self.client(),
            linger: Duration::ZERO,
            block_max: Duration::from_secs(3),
            delivery_timeout: Duration::from_secs(3),
            ..ProducerConfig::default()
        }
    }

    fn consumer(&self) -> ConsumerConfig {
        ConsumerConfig {
            client: self.client(),
            fetch_wait_max: Duration::from_millis(100),
            session_timeout: Duration::from_secs(1),
            heartbeat_interval: Duration::from_millis(100),
            rebalance_timeout: Some(Duration::from_secs(2)),
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..ConsumerConfig::default()
        }
    }
}

impl Operation {
    /// Does it once, with a client of its own.
    pub(crate) async fn perform(self, stage: &Stage) -> Result<(), String> {
        match self {
            Operation::Produce => {
                let producer = Producer::connect(stage.producer()).await.map_err(told)?;
                send(&producer, b"another").await?;
                producer.close(Duration::from_secs(1)).await.map_err(told)
            }
            Operation::Consume => consume(stage.consumer()).await,
            Operation::ConsumeCommitted => {
                consume(ConsumerConfig {
                    isolation_level: IsolationLevel::ReadCommitted,
                    ..stage.consumer()
                })
                .await
            }
            Operation::Join => join(stage).await,
            Operation::Administrate => administrate(stage).await,
            Operation::Transact | Operation::TransactExplicitly => transact(stage).await,
        }
    }
}

async fn send(producer: &Producer, value: &[u8]) -> Result<(), String> {
    let record = ProduceRecord {
        topic: TOPIC,
        partition: Some(0),
        value: Some(value),
        ..ProduceRecord::default()
    };
    let receipt = producer.send(record).await.map_err(told)?;
    receipt.delivered().await.map_err(told).map(|_| ())
}

async fn consume(config: ConsumerConfig) -> Result<(), String> {
    let mut consumer = Consumer::connect(config).await.map_err(told)?;
    let tp = TopicPartition::new(TOPIC, 0);
    consumer.assign([tp.clone()]);
    consumer.start([(tp, StartAt::Earliest)]).map_err(told)?;
    let outcome = first_record(&mut consumer).await;
    consumer.close().await;
    outcome
}

/// Polls until the first record is there. Whatever a broker made of its batch, wrong bytes are noticed.
async fn first_record(consumer: &mut Consumer) -> Result<(), String> {
    let mut decompressor = Decompressor::new(DecodeLimits {
        decompressed_bytes_max: 1 << 20,
    });
    let deadline = tokio::time::Instant::now() + POLL_MAX;
    loop {
        let polled = tokio::time::timeout_at(deadline, consumer.poll()).await;
        let event = polled.map_err(|_| "polled in vain".to_owned())?.map_err(told)?;
        match event {
            Event::Assigned(partitions) => {
                let starts = partitions.into_iter().map(|tp| (tp, StartAt::Committed));
                consumer.start(starts).map_err(told)?;
            }
            Event::Revoked(_) => consumer.revoked_done(),
            Event::Fetched(fetched) => {
                for batch in &fetched.batches {
                    batch.verify_crc().map_err(told)?;
                    let mut records = batch.records(&mut decompressor).map_err(told)?;
                    let record = records.next().ok_or("an empty batch")?.map_err(told)?;
                    if fetched.tp.partition == 0 && record.offset == 0 {
                        assert!(record.value == Some(VALUE), "a lie was taken for a record");
                        return Ok(());
                    }
                }
            }
            _ => {}
        }
    }
}

async fn join(stage: &Stage) -> Result<(), String> {
    let mut config = stage.consumer();
    config.group_id = Some(GROUP.into());
    let mut consumer = Consumer::connect(config).await.map_err(told)?;
    consumer.subscribe([TOPIC]).map_err(told)?;
    let outcome = async {
        first_record(&mut consumer).await?;
        // Long enough for some heartbeats.
        let _ = tokio::time::timeout(Duration::from_millis(300), consumer.poll()).await;
        let tp = TopicPartition::new(TOPIC, 0);
        let offset = CommittedOffset {
            offset: 0, // The next member reads the record again.
            leader_epoch: None,
            metadata: String::new(),
        };
        consumer.commit(&[(tp.clone(), offset)]).await.map_err(told)?;
        let committed = consumer.committed(&[tp]).await.map_err(told)?;
        match &committed[..] {
            [(_, Some(committed))] if committed.offset == 0 => Ok(()),
            other => Err(format!("committed 0, found {other:?}")),
        }
    };
    let outcome = outcome.await;
    consumer.close().await;
    outcome
}

async fn administrate(stage: &Stage) -> Result<(), String> {
    let admin = Admin::connect(stage.client()).await.map_err(told)?;
    let cluster = admin.describe_cluster().await.map_err(told)?;
    let groups = admin.list_groups().await.map_err(told)?;
    let configs = admin.describe_configs(&[TOPIC]).await.map_err(told)?;
    let topics = admin.describe_topics(&[TOPIC]).await.map_err(told)?;
    let described = admin.describe_groups(&[GROUP]).await.map_err(told)?;
    let created = admin
        .create_topics(&[NewTopic {
            name: "another".into(),
            ..NewTopic::default()
        }])
        .await
        .map_err(told)?;
    let told = format!("{cluster:?} {groups:?} {configs:?} {topics:?} {described:?} {created:?}");
    match &topics[..] {
        [(name, Ok(topic))] if name == TOPIC && topic.partitions.len() == 2 => Ok(()),
        _ => Err(told),
    }
}

async fn transact(stage: &Stage) -> Result<(), String> {
    let mut config = stage.producer();
    config.transactional_id = Some("writer".into());
    let producer = Producer::connect(config).await.map_err(told)?;
    producer.init_transactions().await.map_err(told)?;
    for _ in 0..2 {
        producer.begin_transaction().map_err(told)?;
        send(&producer, b"in a transaction").await?;
        let group = ConsumerGroupMetadata {
            group_id: GROUP.into(),
            generation_id: -1,
            member_id: String::new(),
            group_instance_id: None,
        };
        let offset = CommittedOffset {
            offset: 0,
            leader_epoch: None,
            metadata: String::new(),
        };
        let offsets = [(TopicPartition::new(TOPIC, 0), offset)];
        let sent = producer.send_offsets_to_transaction(&offsets, &group).await;
        sent.map_err(told)?;
        producer.commit_transaction().await.map_err(told)?;
    }
    producer.close(Duration::from_secs(1)).await.map_err(told)
}

/// The error with its causes.
fn told(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Longer than any retry of these clients.
const POLL_MAX: Duration = Duration::from_secs(6);
