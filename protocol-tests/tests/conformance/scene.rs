//! What a behaviour works with: topics of its own on the broker under test, and clients.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use engine_client::{
    Admin, AutoOffsetReset, ClientConfig, Consumer, ConsumerConfig, Delivered, ProduceRecord, Producer, ProducerConfig,
    TopicPartition,
    admin::{NewTopic, Refusal, TopicDescription},
};
use engine_wire::messages::ApiKey;

use crate::behaviour::Cannot;
use crate::broker_facts::BrokerFacts;

/// The timestamp of what is written, in ms: a day before this program began. Not the time of the append, and not so long
/// ago that retention takes it: brokers keep a week, by the records' own time.
pub(crate) fn create_time() -> i64 {
    static STARTED: LazyLock<i64> = LazyLock::new(now_ms);
    *STARTED - 86_400_000
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_millis() as i64
}

/// One behaviour's part of the broker. Names in it are new in every run, because a broker may be tested twice, also at the same time.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) facts: Arc<BrokerFacts>,
    prefix: Arc<str>,
    topics: Arc<AtomicU32>,
}

impl Scene {
    pub(crate) fn new(facts: Arc<BrokerFacts>, number: usize) -> Self {
        Self {
            facts,
            prefix: format!("conformance-{}-{}-{number}", now_ms(), std::process::id()).into(),
            topics: Arc::default(),
        }
    }

    /// A name that nothing else on the broker has: of a group, a transactional id, a topic that is not there.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.prefix)
    }

    /// A new topic, replicated as the broker's default says.
    pub(crate) async fn topic(&self, partitions: i32) -> String {
        let created = self.topic_with(partitions, &[]).await;
        created.expect("a plain topic can be created")
    }

    /// A new topic with properties, or the broker's refusal.
    pub(crate) async fn topic_with(&self, partitions: i32, configs: &[(&str, &str)]) -> Result<String, Refusal> {
        let number = self.topics.fetch_add(1, Ordering::Relaxed);
        let name = self.name(&format!("topic-{number}"));
        let topic = NewTopic {
            name: name.clone(),
            partitions: Some(partitions),
            replication_factor: None,
            configs: configs
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        };
        let mut created = self.admin().await.create_topics(&[topic]).await.expect("answers");
        created.remove(0).1.map(|()| name)
    }

    /// Waits until each broker, asked alone, names a leader of every partition, and has it `as_wanted`. A producer or consumer needs no such wait, and
    /// gets none; an administrator's question is answered by whichever broker is asked, with what it knows by then.
    pub(crate) async fn known_everywhere(&self, topic: &str, as_wanted: impl Fn(&TopicDescription) -> bool) {
        for broker in &self.facts.cluster.brokers {
            let mut config = self.client_config();
            config.bootstrap_servers = vec![format!("{}:{}", broker.host, broker.port)];
            loop {
                // A new client each time: one that has heard of the others asks any of them.
                let admin = Admin::connect(config.clone()).await.expect("connects");
                let described = admin.describe_topics(&[topic]).await.expect("answers").remove(0).1;
                let is_led = |topic: &TopicDescription| topic.partitions.iter().all(|it| it.leader.is_some());
                if described.is_ok_and(|topic| is_led(&topic) && as_wanted(&topic)) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new(self.facts.bootstrap.as_str());
        config.retry_backoff = Duration::from_millis(50);
        config
    }

    pub(crate) async fn admin(&self) -> Admin {
        Admin::connect(self.client_config()).await.expect("connects")
    }

    /// Defaults, changed by `change`.
    pub(crate) async fn producer(&self, change: impl FnOnce(&mut ProducerConfig)) -> Producer {
        let mut config = ProducerConfig::new("");
        config.client = self.client_config();
        change(&mut config);
        Producer::connect(config).await.expect("connects")
    }

    /// Defaults, though it starts at the oldest record and notices rebalances early; changed by `change`.
    pub(crate) async fn consumer(&self, change: impl FnOnce(&mut ConsumerConfig)) -> Consumer {
        let mut config = ConsumerConfig::new("");
        config.client = self.client_config();
        config.auto_offset_reset = AutoOffsetReset::Earliest;
        config.heartbeat_interval = Duration::from_millis(200);
        config.session_timeout = Duration::from_secs(10);
        change(&mut config);
        Consumer::connect(config).await.expect("connects")
    }

    /// These numbers as values in one partition, acknowledged by all replicas. Gives the first one's offset.
    pub(crate) async fn write(&self, topic: &str, partition: i32, numbers: std::ops::Range<u32>) -> i64 {
        let producer = self.producer(|_| {}).await;
        let delivered = write_with(&producer, topic, partition, numbers).await;
        producer.close(Duration::from_secs(5)).await.expect("all is delivered");
        delivered[0].offset.expect("acks = all tells offsets")
    }

    /// Goes on only where the broker has the API in the version, or says what it has instead.
    pub(crate) fn needs(&self, api: ApiKey, version: i16) -> Result<(), Cannot> {
        if self.facts.offers(api, version) {
            return Ok(());
        }
        let offered = self.facts.versions(api);
        Err(Cannot(format!("needs {api:?} {version}, the broker has {offered}")))
    }

    /// Goes on only in a cluster of several brokers.
    pub(crate) fn needs_brokers(&self, count: usize) -> Result<(), Cannot> {
        match self.facts.cluster.brokers.len() {
            there if there >= count => Ok(()),
            there => Err(Cannot(format!("needs {count} brokers, the cluster has {there}"))),
        }
    }
}

/// These numbers as values, each acknowledged before this returns.
pub(crate) async fn write_with(
    producer: &Producer,
    topic: &str,
    partition: i32,
    numbers: std::ops::Range<u32>,
) -> Vec<Delivered> {
    let mut receipts = Vec::new();
    for number in numbers {
        let value = number.to_string();
        let record = ProduceRecord {
            topic,
            partition: Some(partition),
            timestamp: Some(create_time() + i64::from(number)),
            value: Some(value.as_bytes()),
            ..ProduceRecord::default()
        };
        receipts.push(producer.send(record).await.expect("is accepted"));
    }
    producer.flush().await.expect("is delivered");
    let mut delivered = Vec::new();
    for receipt in receipts {
        delivered.push(receipt.delivered().await.expect("is delivered"));
    }
    delivered
}

/// All partitions of a topic.
pub(crate) fn partitions(topic: &str, count: i32) -> Vec<TopicPartition> {
    (0..count)
        .map(|partition| TopicPartition::new(topic, partition))
        .collect()
}

pub(crate) fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}
