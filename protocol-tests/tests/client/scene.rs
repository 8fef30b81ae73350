//! A cluster with a topic of a test's own, and a member of its group with what a careful application knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use engine_broker::{Broker, BrokerConfig, Fault, FaultAction};
use engine_client::{
    Admin, ClientConfig, CommitError, CommittedOffset, Consumer, ConsumerConfig, ConsumerError, Event, Fetched,
    ProduceRecord, Producer, ProducerConfig, StartAt, TopicPartition, admin::NewTopic,
};
use engine_wire::compression::{DecodeLimits, Decompressor};

pub(crate) const FETCH: i16 = 1;
pub(crate) const METADATA: i16 = 3;
pub(crate) const OFFSET_COMMIT: i16 = 8;
pub(crate) const OFFSET_FETCH: i16 = 9;
pub(crate) const FIND_COORDINATOR: i16 = 10;
pub(crate) const JOIN_GROUP: i16 = 11;
pub(crate) const HEARTBEAT: i16 = 12;
pub(crate) const SYNC_GROUP: i16 = 14;
pub(crate) const LIST_OFFSETS: i16 = 2;

/// A cluster with one topic of its own.
pub(crate) struct Scene {
    pub(crate) broker: Option<Broker>,
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
}

impl Scene {
    pub(crate) async fn new(partitions: i32) -> Scene {
        match std::env::var("ENGINE_TEST_BOOTSTRAP") {
            Ok(bootstrap) => Scene::on(None, bootstrap, partitions).await,
            Err(_) => Scene::embedded(partitions).await,
        }
    }

    pub(crate) async fn embedded(partitions: i32) -> Scene {
        let config = BrokerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            group_initial_rebalance_delay: Duration::ZERO,
            group_session_timeout_min: Duration::from_millis(100),
            ..BrokerConfig::default()
        };
        let broker = Broker::start(config).await.expect("the embedded broker starts");
        let bootstrap = broker.address().to_string();
        Scene::on(Some(broker), bootstrap, partitions).await
    }

    pub(crate) async fn on(broker: Option<Broker>, bootstrap: String, partitions: i32) -> Scene {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let topic = format!("consumer-test-{}-{count}", std::process::id());
        let scene = Scene {
            broker,
            bootstrap,
            topic,
        };
        let topic = NewTopic {
            name: scene.topic.clone(),
            partitions: Some(partitions),
            replication_factor: Some(1),
            ..NewTopic::default()
        };
        let created = scene.admin().await.create_topics(&[topic]).await.expect("created");
        assert_eq!(created, [(scene.topic.clone(), Ok(()))]);
        scene
    }

    pub(crate) async fn admin(&self) -> Admin {
        Admin::connect(ClientConfig::new(&self.bootstrap))
            .await
            .expect("connects")
    }

    pub(crate) fn config(&self) -> ConsumerConfig {
        let mut config = ConsumerConfig::new(&self.bootstrap);
        config.group_id = Some(self.topic.clone());
        config.heartbeat_interval = Duration::from_millis(200);
        config.session_timeout = Duration::from_secs(6);
        config.auto_offset_reset = engine_client::AutoOffsetReset::Earliest;
        config.client.retry_backoff = Duration::from_millis(20);
        config
    }

    pub(crate) async fn member(&self) -> Member {
        let mut consumer = Consumer::connect(self.config()).await.expect("connects");
        consumer.subscribe([self.topic.as_str()]).expect("has a group");
        Member::new(consumer)
    }

    pub(crate) async fn reader(&self, config: ConsumerConfig) -> Member {
        Member::new(Consumer::connect(config).await.expect("connects"))
    }

    pub(crate) fn tp(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), partition)
    }

    /// `count` numbers as values, from `first`, round-robin over the partitions.
    pub(crate) async fn produce(&self, partitions: i32, first: u32, count: u32) {
        self.write(&self.producer().await, partitions, first, count).await;
    }

    pub(crate) async fn producer(&self) -> Producer {
        Producer::connect(ProducerConfig::new(&self.bootstrap))
            .await
            .expect("connects")
    }

    /// As [`Scene::produce`], by a producer that is connected already.
    pub(crate) async fn write(&self, producer: &Producer, partitions: i32, first: u32, count: u32) {
        for number in first..first + count {
            let value = number.to_string();
            let record = ProduceRecord {
                topic: &self.topic,
                partition: Some((number % partitions as u32) as i32),
                timestamp: Some(1_700_000_000_000 + i64::from(number)),
                key: None,
                value: Some(value.as_bytes()),
                headers: &[],
            };
            producer.send(record).await.expect("is accepted");
        }
        producer.flush().await.expect("is delivered");
    }

    /// `count` records of `size` bytes, round-robin over the partitions.
    pub(crate) async fn produce_bytes(&self, partitions: i32, count: i32, size: usize) {
        let producer = Producer::connect(ProducerConfig::new(&self.bootstrap))
            .await
            .expect("connects");
        let value = vec![b'x'; size];
        for number in 0..count {
            let record = ProduceRecord {
                topic: &self.topic,
                partition: Some(number % partitions),
                value: Some(&value),
                ..ProduceRecord::default()
            };
            producer.send(record).await.expect("is accepted");
        }
        producer.flush().await.expect("is delivered");
    }

    pub(crate) fn inject(&self, api_key: i16, action: FaultAction) {
        self.broker
            .as_ref()
            .expect("faults need the embedded broker")
            .inject(Fault::once(api_key, action));
    }
}

/// A consumer with what a careful application knows.
pub(crate) struct Member {
    pub(crate) consumer: Consumer,
    pub(crate) owned: BTreeSet<TopicPartition>,
    pub(crate) positions: BTreeMap<TopicPartition, CommittedOffset>,
    pub(crate) seen: Vec<u32>,
    pub(crate) lost: usize,
    pub(crate) errors: Vec<ConsumerError>,
    pub(crate) decompressor: Decompressor,
}

impl Member {
    pub(crate) fn new(consumer: Consumer) -> Member {
        Member {
            consumer,
            owned: BTreeSet::new(),
            positions: BTreeMap::new(),
            seen: Vec::new(),
            lost: 0,
            errors: Vec::new(),
            decompressor: Decompressor::new(DecodeLimits::default()),
        }
    }

    /// Does one event, or nothing if none comes soon.
    pub(crate) async fn step(&mut self) {
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(20), self.consumer.poll()).await {
            self.handle(event).await;
        }
    }

    pub(crate) async fn handle(&mut self, event: Result<Event, ConsumerError>) {
        match event {
            Ok(Event::Assigned(partitions)) => {
                self.owned.extend(partitions.iter().cloned());
                let starts = partitions.into_iter().map(|tp| (tp, StartAt::Committed));
                self.consumer.start(starts).expect("just assigned");
            }
            Ok(Event::Revoked(partitions)) => {
                self.commit().await.expect("may still commit");
                self.give_up(&partitions);
                self.consumer.revoked_done();
            }
            Ok(Event::Lost(partitions)) => {
                self.lost += 1;
                self.give_up(&partitions);
            }
            Ok(Event::Fetched(fetched)) => self.take(&fetched),
            Ok(_) => {}
            Err(error) => self.errors.push(error),
        }
    }

    pub(crate) fn give_up(&mut self, partitions: &[TopicPartition]) {
        for tp in partitions {
            self.owned.remove(tp);
            self.positions.remove(tp);
        }
    }

    pub(crate) fn take(&mut self, fetched: &Fetched) {
        for batch in &fetched.batches {
            batch.verify_crc().expect("the crc is right");
            for record in batch.records(&mut self.decompressor).expect("decodes") {
                let record = record.expect("decodes");
                if record.offset >= fetched.first_offset {
                    let value = std::str::from_utf8(record.value.expect("has a value")).expect("is text");
                    self.seen.push(value.parse().expect("is a number"));
                }
            }
        }
        let position = CommittedOffset {
            offset: fetched.next_offset,
            leader_epoch: fetched.leader_epoch,
            metadata: "checkpoint 7".into(),
        };
        self.positions.insert(fetched.tp.clone(), position);
    }

    pub(crate) async fn commit(&self) -> Result<(), CommitError> {
        let positions: Vec<_> = self.positions.iter().map(|(tp, at)| (tp.clone(), at.clone())).collect();
        self.consumer.commit(&positions).await
    }
}

/// Nothing that a test waits for may take longer, on however slow a machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Steps the members in turn until `done`.
pub(crate) async fn run(members: &mut [&mut Member], what: &str, done: impl Fn(&[&mut Member]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(members) {
        if Instant::now() >= deadline {
            for member in members.iter() {
                let stats = member.consumer.stats();
                println!(
                    "{} records of {:?}, errors {:?}",
                    member.seen.len(),
                    member.owned,
                    member.errors
                );
                println!(
                    "{:?} {:?} {:?} {:?}",
                    stats.fetch, stats.membership, stats.lag, stats.errors
                );
            }
            panic!("not within {PATIENCE:?}: {what}");
        }
        for member in members.iter_mut() {
            member.step().await;
        }
    }
}

pub(crate) fn numbers(range: std::ops::Range<u32>) -> Vec<u32> {
    range.collect()
}

pub(crate) fn sorted(mut seen: Vec<u32>) -> Vec<u32> {
    seen.sort_unstable();
    seen
}
